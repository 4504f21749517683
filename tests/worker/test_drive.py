"""The driver, one turn at a time, on a real journal, a real store and a real (tiny) network."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import EngineFault, LeaseLost, NoRoom, Unavailable
from appliance.job import JobState
from appliance.pipeline.denoise import Feeds
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.picture_check import PictureCheck, blurred
from appliance.pipeline.text_to_image import TextToImage
from appliance.worker.drive import CHECKPOINT_EVERY, RETRY_EVERY, Driver
from tests.conftest import Box
from tests.tiny_bundles import make_checked_bundle

Finish = Callable[[Driver], int]


class Watched:
    """The real pipeline, with an ear on each UNet call and faults on order."""

    def __init__(self, pipeline: TextToImage) -> None:
        self._pipeline = pipeline
        self.calls: list[int] = []
        self.timesteps: list[set[float]] = []
        self.decode_fault: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def predict(self, batch: Sequence[Feeds]) -> list[NDArray[np.float32]]:
        self.calls.append(len(batch))
        self.timesteps.append({float(feeds.timestep[0]) for feeds in batch})
        return self._pipeline.predict(batch)

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        if self.decode_fault:
            raise EngineFault(self.decode_fault)
        return self._pipeline.decode(latents)


def pixels(box: Box, job_id: str) -> list[NDArray[np.uint8]]:
    paths = [box.store.path(image_id) for image_id in box.journal.job(job_id).images]
    return [np.asarray(Image.open(io.BytesIO(path.read_bytes()))) for path in paths]


def test_a_job_becomes_a_picture_on_the_disk_and_then_ends(box: Box, finish: Finish) -> None:
    job_id = box.submit(steps=3)
    driver = box.driver()
    assert finish(driver) == 3
    job = box.journal.job(job_id)
    assert job.state is JobState.FINISHED
    assert job.engine == "onnxruntime"
    assert pixels(box, job_id)[0].shape == (64, 64, 3)
    assert [image.job for image in box.journal.gallery.images()] == [job_id]
    assert box.board.progress(job_id) is None


def test_an_idle_driver_does_nothing(box: Box) -> None:
    assert box.driver().turn() is False


def test_pictures_of_several_jobs_share_each_call_at_their_own_timesteps(box: Box, finish: Finish) -> None:
    watched = Watched(box.pipeline)
    driver = box.driver(watched)
    box.submit("a dog", steps=4)
    driver.turn()
    box.submit("a cat", steps=4)
    driver.turn()
    assert watched.calls == [1, 2]
    assert len(watched.timesteps[1]) == 2
    finish(driver)
    assert box.journal.counts()[JobState.FINISHED] == 2


def test_a_batch_never_has_more_rows_than_the_bundle_allows(box: Box, finish: Finish) -> None:
    watched = Watched(box.pipeline)
    for number in range(5):
        box.submit(f"number {number}", count=2, steps=2)
    finish(box.driver(watched, batch_limit=6))
    assert max(watched.calls) == 3  # guidance costs two rows
    assert box.journal.counts()[JobState.FINISHED] == 5


def test_sizes_take_turns(box: Box, finish: Finish) -> None:
    watched = Watched(box.pipeline)
    wide = box.submit("wide", width=96, height=64, steps=3)
    tall = box.submit("tall", width=64, height=96, steps=3)
    finish(box.driver(watched))
    assert watched.calls == [1] * 6
    assert pixels(box, wide)[0].shape == (64, 96, 3)
    assert pixels(box, tall)[0].shape == (96, 64, 3)


def test_count_gives_as_many_pictures_each_with_the_next_seed(box: Box, finish: Finish) -> None:
    job_id = box.submit(count=3, steps=2)
    alone = box.submit(seed=8, steps=2)
    finish(box.driver())
    assert sorted(image.seed for image in box.journal.gallery.images() if image.job == job_id) == [7, 8, 9]
    difference = pixels(box, job_id)[1].astype(int) - pixels(box, alone)[0]
    assert np.abs(difference).max() <= 1


def test_the_same_seed_draws_the_same_picture(box: Box, finish: Finish) -> None:
    one, two = box.submit(steps=2), box.submit(steps=2)
    driver = box.driver(batch_limit=2)
    finish(driver)
    assert np.array_equal(pixels(box, one)[0], pixels(box, two)[0])


def test_a_cancelled_job_leaves_between_two_steps(box: Box, finish: Finish) -> None:
    job_id, other = box.submit(steps=5), box.submit(steps=5)
    driver = box.driver()
    driver.turn()
    box.journal.cancel(job_id)
    driver.turn()
    assert box.journal.job(job_id).state is JobState.CANCELLED
    assert job_id not in driver.flights
    finish(driver)
    assert box.journal.job(other).state is JobState.FINISHED


def test_a_running_job_shows_how_far_it_is(box: Box) -> None:
    job_id = box.submit(steps=4)
    driver = box.driver()
    driver.turn()
    box.clock.now += 1
    driver.turn()
    progress = box.board.progress(job_id)
    assert progress is not None
    assert (progress.step, progress.steps) == (2, 4)
    assert len(progress.previews) == 1
    assert progress.seconds_left is not None
    assert progress.seconds_left >= 0


def test_a_stop_gives_the_job_back_and_the_next_engine_goes_on_where_it_was(box: Box, finish: Finish) -> None:
    whole = box.submit(steps=6)
    finish(box.driver())
    job_id = box.submit(steps=6)
    driver = box.driver()
    for _ in range(4):
        driver.turn()
    driver.stop()
    assert box.journal.job(job_id).state is JobState.QUEUED
    assert finish(box.driver()) == 2
    assert np.array_equal(pixels(box, whole)[0], pixels(box, job_id)[0])


def test_an_engine_that_died_leaves_checkpoints_to_go_on_from(box: Box, finish: Finish) -> None:
    job_id = box.submit(steps=9)
    driver = box.driver()
    for _ in range(3):
        box.clock.now += CHECKPOINT_EVERY
        driver.turn()
    assert finish(box.driver()) < 9
    assert box.journal.job(job_id).state is JobState.FINISHED


def test_a_damaged_checkpoint_only_costs_time(box: Box, finish: Finish) -> None:
    job_id = box.submit(steps=4)
    driver = box.driver()
    driver.turn()
    driver.stop()
    for path in (box.folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    assert finish(box.driver()) == 4
    assert box.journal.job(job_id).state is JobState.FINISHED


def test_no_checkpoint_outlives_its_job(box: Box, finish: Finish) -> None:
    box.submit(steps=4)
    driver = box.driver()
    driver.turn()
    driver.stop()
    finish(box.driver())
    assert list((box.folder / "checkpoints").iterdir()) == []


def test_an_engine_dying_twice_on_one_job_fails_it_and_goes_on_with_the_next(box: Box, finish: Finish) -> None:
    poison = box.submit(steps=4)
    box.driver().turn()
    box.driver().turn()
    following = box.submit(steps=2)
    finish(box.driver())
    job = box.journal.job(poison)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "died twice" in job.error
    assert box.journal.job(following).state is JobState.FINISHED


def test_after_a_death_with_several_in_flight_each_is_tried_alone(box: Box, finish: Finish) -> None:
    jobs = [box.submit(steps=3) for _ in range(3)]
    box.driver().turn()
    watched = Watched(box.pipeline)
    finish(box.driver(watched))
    assert set(watched.calls) == {1}
    assert all(box.journal.job(job_id).state is JobState.FINISHED for job_id in jobs)


def test_an_engine_that_was_replaced_can_end_nothing(box: Box) -> None:
    box.submit(steps=1)
    old = box.driver()
    old._admit()
    box.driver()
    with pytest.raises(LeaseLost):
        old.turn()


def test_a_fault_in_one_picture_fails_its_job_alone(box: Box, finish: Finish) -> None:
    watched = Watched(box.pipeline)
    watched.decode_fault = "The decoder gave no numbers."
    job_id = box.submit(steps=1)
    driver = box.driver(watched)
    finish(driver)
    assert box.journal.job(job_id).error == "The decoder gave no numbers."
    watched.decode_fault = None
    following = box.submit(steps=1)
    finish(driver)
    assert box.journal.job(following).state is JobState.FINISHED


def test_a_row_the_bundle_no_longer_offers_fails_with_its_sentence(box: Box, finish: Finish) -> None:
    job_id = box.submit(width=96, height=64)
    driver = box.driver()
    driver._offer = dataclasses.replace(box.offer, sizes=((64, 64),))
    finish(driver)
    job = box.journal.job(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "not offered" in job.error


def test_a_full_disk_waits_and_loses_nothing(box: Box, monkeypatch: pytest.MonkeyPatch, finish: Finish) -> None:
    job_id = box.submit(steps=1)
    driver = box.driver()
    save = box.store.save

    def full(image_id: str, png: bytes) -> None:
        raise NoRoom("The picture could not be stored: make room on the disk.")

    monkeypatch.setattr(box.store, "save", full)
    driver.turn()
    driver.turn()
    assert box.journal.job(job_id).state is JobState.RUNNING
    assert driver.note is not None
    monkeypatch.setattr(box.store, "save", save)
    box.clock.now += RETRY_EVERY
    finish(driver)
    assert box.journal.job(job_id).state is JobState.FINISHED
    assert driver.note is None


def test_pictures_of_a_job_cancelled_while_the_disk_was_full_do_not_stay(
    box: Box, monkeypatch: pytest.MonkeyPatch, finish: Finish
) -> None:
    job_id = box.submit(steps=1, count=2)
    driver = box.driver()
    save = box.store.save

    def full_after_one(image_id: str, png: bytes) -> None:
        save(image_id, png)
        raise NoRoom("The picture could not be stored: make room on the disk.")

    monkeypatch.setattr(box.store, "save", full_after_one)
    driver.turn()
    box.journal.cancel(job_id)
    finish(driver)
    assert box.journal.job(job_id).state is JobState.CANCELLED
    assert list((box.folder / "images").rglob("*.png")) == []


def test_a_busy_journal_is_asked_again(box: Box, monkeypatch: pytest.MonkeyPatch, finish: Finish) -> None:
    job_id = box.submit(steps=2)
    driver = box.driver()
    claim = box.journal.claim

    def busy(session: str) -> None:
        raise Unavailable("The journal is busy: try again.")

    monkeypatch.setattr(box.journal, "claim", busy)
    assert driver.turn() is False
    monkeypatch.setattr(box.journal, "claim", claim)
    box.clock.now += RETRY_EVERY
    finish(driver)
    assert box.journal.job(job_id).state is JobState.FINISHED


def test_a_refused_job_whose_end_cannot_be_written_yet_is_ended_later(
    box: Box, monkeypatch: pytest.MonkeyPatch, finish: Finish
) -> None:
    job_id = box.submit(width=96, height=64)
    driver = box.driver()
    driver._offer = dataclasses.replace(box.offer, sizes=((64, 64),))
    fail = box.journal.fail

    def full(session: str, job: str, error: str) -> None:
        raise NoRoom("The disk is full: make room, then try again.")

    monkeypatch.setattr(box.journal, "fail", full)
    driver.turn()
    assert box.journal.job(job_id).state is JobState.RUNNING
    monkeypatch.setattr(box.journal, "fail", fail)
    box.clock.now += RETRY_EVERY
    finish(driver)
    assert box.journal.job(job_id).state is JobState.FAILED


def test_the_png_tells_how_it_was_made(box: Box, finish: Finish) -> None:
    job_id = box.submit("a fox", negative_prompt="rain", steps=2)
    finish(box.driver())
    picture = Image.open(box.store.path(box.journal.job(job_id).images[0]))
    text: dict[str, str] = picture.text  # type: ignore[attr-defined]
    assert text["parameters"].startswith("a fox\nNegative prompt: rain\nSteps: 2, Sampler: ")
    told = json.loads(text["ensueno"])
    assert told["request"]["seed"] == 7
    assert told["engine"] == "onnxruntime"


def test_a_prompt_the_tokenizer_cuts_says_so(box: Box, finish: Finish) -> None:
    job_id = box.submit("a very long wish " * 20, steps=2)
    box.driver().turn()
    truncated = box.journal.job(job_id).truncated
    assert truncated is not None
    assert truncated.strip()


def checker(folder: Path, bright: float) -> PictureCheck:
    return PictureCheck.load(Bundle.open(make_checked_bundle(folder, bright)), OnnxRuntime())


def told(box: Box, image_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Image.open(box.store.path(image_id)).text["ensueno"])  # type: ignore[attr-defined]
    return found


def test_a_flagged_picture_is_stored_blurred_and_everybody_is_told(box: Box, tmp_path: Path, finish: Finish) -> None:
    plain = box.submit(steps=2)
    finish(box.driver())
    job_id = box.submit(steps=2)
    finish(box.driver(check=checker(tmp_path / "strict", 0.0)))
    assert np.array_equal(pixels(box, job_id)[0], blurred(pixels(box, plain)[0]))
    image, before = box.journal.gallery.images()
    assert image.blurred
    assert not before.blurred
    assert told(box, image.id)["blurred"] is True


def test_a_picture_that_passes_is_as_without_the_check(box: Box, tmp_path: Path, finish: Finish) -> None:
    plain = box.submit(steps=2)
    finish(box.driver())
    job_id = box.submit(steps=2)
    finish(box.driver(check=checker(tmp_path / "lenient", 1.0)))
    files = [box.store.path(box.journal.job(name).images[0]).read_bytes() for name in (plain, job_id)]
    assert files[0] == files[1]
    assert not any(image.blurred for image in box.journal.gallery.images())


def test_until_it_is_checked_a_picture_is_not_shown(box: Box, tmp_path: Path) -> None:
    job_id = box.submit(steps=4)
    driver = box.driver(check=checker(tmp_path / "lenient", 1.0))
    driver.turn()
    box.clock.now += 1
    driver.turn()
    progress = box.board.progress(job_id)
    assert progress is not None
    assert (progress.step, progress.previews) == (2, [])


def test_a_picture_that_cannot_be_checked_is_not_stored(
    box: Box, tmp_path: Path, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flags(pixels: NDArray[np.uint8]) -> bool:
        raise EngineFault("The picture check gave no number.")

    check = checker(tmp_path / "broken", 0.5)
    monkeypatch.setattr(check, "flags", flags)
    job_id = box.submit(steps=2)
    finish(box.driver(check=check))
    assert box.journal.job(job_id).state is JobState.FAILED
    assert box.store.names() == set()
