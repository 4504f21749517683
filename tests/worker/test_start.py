"""The engine draws on from pictures that were sent, and none of their files outlives its job."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from appliance.job import JobState
from appliance.pipeline.text_to_image import TextToImage
from appliance.worker.drive import Driver
from tests.conftest import Box

PIXELS = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
MASK = np.zeros((64, 64), np.uint8)
MASK[20:40, 30:50] = 255


def file(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def box(tmp_path: Path, starting: TextToImage) -> Box:
    return Box(tmp_path, starting.bundle.manifest.offer(), starting)


def drawn(box: Box, job_id: str) -> Image.Image:
    job = box.journal.job(job_id)
    assert job.state is JobState.FINISHED, job.error
    return Image.open(box.store.path(job.images[0]))


def test_outside_the_mask_the_pixels_are_the_originals(box: Box, finish: Callable[[Driver], int]) -> None:
    job_id = box.submit(image=file(PIXELS), mask=file(MASK))
    finish(box.driver())
    picture = drawn(box, job_id)
    outside = MASK == 0
    assert np.array_equal(np.asarray(picture)[outside], PIXELS[outside])
    assert not np.array_equal(np.asarray(picture)[~outside], PIXELS[~outside])


def test_the_file_tells_what_it_was_made_from(box: Box, finish: Callable[[Driver], int]) -> None:
    job_id = box.submit(image=file(PIXELS), strength=0.5)
    finish(box.driver())
    told = drawn(box, job_id).text  # type: ignore[attr-defined]
    image = box.journal.job(job_id).request.image
    assert image is not None
    assert f"Denoising strength: 0.5, Init image hash: {image.sha256}" in told["parameters"]
    assert json.loads(told["ensueno"])["request"]["image"] == image.sha256
    (entry,) = box.journal.gallery.images()
    assert entry.job == job_id


def test_only_the_strengths_share_of_steps_is_taken(box: Box) -> None:
    job_id = box.submit(image=file(PIXELS), strength=0.5, steps=8)
    driver = box.driver()
    driver.look()
    progress = box.board.progress(job_id)
    assert progress is not None
    assert progress.steps == 4


def test_its_picture_leaves_the_box_with_the_job(box: Box, finish: Callable[[Driver], int]) -> None:
    box.submit(image=file(PIXELS), mask=file(MASK))
    assert len(list((box.folder / "inputs").iterdir())) == 2
    finish(box.driver())
    assert list((box.folder / "inputs").iterdir()) == []


def test_an_engine_that_died_half_way_gives_way_to_one_that_draws_the_same(
    box: Box, finish: Callable[[Driver], int]
) -> None:
    fields: dict[str, Any] = {"image": file(PIXELS), "mask": file(MASK), "steps": 6, "strength": 0.9}
    whole = box.submit(**fields)
    finish(box.driver())
    halved = box.submit(**fields)
    first = box.driver()
    for _ in range(3):
        first.turn()
    first.stop()
    second = box.driver()
    second.look()
    assert second.flights[halved].pictures[0].state.step == 3
    finish(second)
    assert np.array_equal(np.asarray(drawn(box, halved)), np.asarray(drawn(box, whole)))


def test_a_job_whose_picture_was_lost_fails_with_a_sentence(box: Box, finish: Callable[[Driver], int]) -> None:
    job_id = box.submit(image=file(PIXELS))
    for path in (box.folder / "inputs").iterdir():
        path.unlink()
    finish(box.driver())
    job = box.journal.job(job_id)
    assert (job.state, job.error) == (
        JobState.FAILED, "The picture to start from is no longer here: send the request again."
    )  # fmt: skip
