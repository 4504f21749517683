"""The engine's life around the driver: lock, proof, pulse, stop."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance import config
from appliance.bundles.install import install
from appliance.bundles.slots import Slots
from appliance.errors import BadBundle, EngineFault
from appliance.images import ImageStore
from appliance.job import JobState
from appliance.journal import Journal
from appliance.pipeline.text_to_image import TextToImage
from appliance.progress import Board, board_folder, engine_alive
from appliance.request import GenerationRequest, Offer
from appliance.worker.process import EngineProcess
from tests.tiny_bundles import make_checked_bundle


@pytest.fixture
def settings(tmp_path: Path, tiny_folder: Path) -> config.Settings:
    return config.load({"data_dir": tmp_path / "data", "bundle": tiny_folder, "threads": 1, "reserve_mib": 0})


def test_an_engine_draws_one_picture_before_it_says_it_is_ready(settings: config.Settings) -> None:
    EngineProcess(settings)
    pulse = Board(board_folder(settings.data_dir)).pulse()
    assert engine_alive(pulse)
    assert pulse is not None
    assert (pulse.pictures, pulse.engine, pulse.bundle) == (1, "onnxruntime", "tiny 0.0.1")
    assert pulse.seconds_per_picture is not None


def test_where_pictures_are_to_be_checked_an_engine_that_cannot_does_not_begin(settings: config.Settings) -> None:
    with pytest.raises(BadBundle, match=r"picture_check is on, but .* has no safety checker: "):
        EngineProcess(settings.model_copy(update={"picture_check": "on"}))


def test_an_engine_checks_what_it_draws_where_its_owner_wants_that(
    settings: config.Settings, tmp_path: Path, tiny_offer: Offer
) -> None:
    bundle = make_checked_bundle(tmp_path / "strict", 0.0)
    for switch in ("on", "off"):
        engine = EngineProcess(settings.model_copy(update={"bundle": bundle, "picture_check": switch}))
        journal = Journal(settings.journal_path, reserve=0)
        journal.submit(GenerationRequest.of({"prompt": "a", "steps": 1}, tiny_offer))
        while engine._driver.turn():
            pass
        assert journal.gallery.images()[0].blurred is (switch == "on")


def test_an_engine_asked_to_stop_gives_its_jobs_back(settings: config.Settings, tiny_offer: Offer) -> None:
    engine = EngineProcess(settings)
    journal = Journal(settings.journal_path, reserve=0)
    job, _ = journal.submit(GenerationRequest.of({"prompt": "a", "steps": 9}, tiny_offer))
    engine._driver.turn()
    assert journal.job(job.id).state is JobState.RUNNING
    engine.ask_to_stop()
    engine.run()
    assert journal.job(job.id).state is JobState.QUEUED


def test_an_engine_sweeps_the_checkpoints_that_belong_to_no_open_job(
    settings: config.Settings, tiny_offer: Offer
) -> None:
    journal = Journal(settings.journal_path, reserve=0)
    journal.submit(GenerationRequest.of({"prompt": "a"}, tiny_offer))
    (waiting,) = journal.gallery.open_images()
    settings.checkpoints_dir.mkdir(parents=True)
    for name in (waiting, "0" * 26):
        (settings.checkpoints_dir / f"{name}.npz").write_bytes(b"half a picture")
    EngineProcess(settings)
    assert [path.stem for path in settings.checkpoints_dir.iterdir()] == [waiting]


def test_what_a_dead_engine_stored_and_nobody_was_shown_is_removed(
    settings: config.Settings, tiny_offer: Offer
) -> None:
    journal, store = Journal(settings.journal_path, reserve=0), ImageStore(settings.images_dir)
    journal.submit(GenerationRequest.of({"prompt": "a"}, tiny_offer))
    session = journal.open_session()
    shown = journal.claim(session)
    assert shown is not None
    journal.finish(session, shown.id, engine="fake")
    journal.submit(GenerationRequest.of({"prompt": "b"}, tiny_offer))
    half = journal.claim(session)
    assert half is not None
    for image in (*shown.images, *half.images):
        store.save(image, b"a picture")
    EngineProcess(settings)
    assert store.names() == set(shown.images)


_DIE_AT_ITS_END = """
import os, sys
from pathlib import Path
from appliance import failpoints
from appliance.journal import Journal
path, session, job = sys.argv[1:]
failpoints.arm("finish.committed")
Journal(Path(path), reserve=0).finish(session, job, engine="fake")
"""


def test_an_end_that_was_committed_and_hidden_keeps_its_pictures(
    settings: config.Settings, tiny_offer: Offer, tmp_path: Path
) -> None:
    """An engine dies inside its last commit: whole in the write-ahead log, and the log's index (-shm) was not told.

    The next engine dies too, and everything else with it; then the log is read again, and the job has ended.
    """
    journal, store = Journal(settings.journal_path, reserve=0), ImageStore(settings.images_dir)
    job, _ = journal.submit(GenerationRequest.of({"prompt": "a"}, tiny_offer))
    session = journal.open_session()
    claimed = journal.claim(session)
    assert claimed is not None
    store.save(claimed.images[0], b"a picture")
    index = Path(f"{settings.journal_path}-shm")
    # by another process: closing the file here would give up the locks that the journal holds on it
    untold = subprocess.run(["head", "-c", "96", index], capture_output=True, check=True).stdout  # its header, twice
    dying = [sys.executable, "-c", _DIE_AT_ITS_END, str(settings.journal_path), session, job.id]
    assert subprocess.run(dying).returncode == -signal.SIGKILL
    subprocess.run(["dd", "conv=notrunc", "status=none", f"of={index}"], input=untold, check=True)
    assert journal.job(job.id).state is JobState.RUNNING
    options = ["--data-dir", str(settings.data_dir), "--bundle", str(settings.bundle)]
    environment = {**os.environ, "ENSUENO_FAILPOINT": "open_session.uncommitted"}
    next_engine = subprocess.run([sys.executable, "-m", "appliance.worker", *options], env=environment)
    assert next_engine.returncode == -signal.SIGKILL
    for side in ("", "-wal"):
        shutil.copy(f"{settings.journal_path}{side}", tmp_path / f"again.db{side}")
    again = Journal(tmp_path / "again.db", reserve=0)
    assert again.job(job.id).state is JobState.FINISHED
    assert store.path(claimed.images[0]).read_bytes() == b"a picture"


def test_an_engine_that_draws_one_flat_colour_never_becomes_ready(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def black(self: TextToImage, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.zeros((64, 64, 3), np.uint8)

    monkeypatch.setattr(TextToImage, "decode", black)
    with pytest.raises(EngineFault, match="flat colour"):
        EngineProcess(settings)
    pulse = Board(board_folder(settings.data_dir)).pulse()
    assert pulse is not None
    assert pulse.pictures == 0


def test_a_long_start_gives_signs_of_life_and_its_better_engines_say_why(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENSUENO_ENGINE")
    monkeypatch.setattr("appliance.worker.process.BEAT_EVERY", 0.0)
    beats: list[str] = []
    monkeypatch.setattr(Board, "beat", lambda self, pulse: beats.append(pulse.engine))
    EngineProcess(settings.model_copy(update={"engine": None}))
    assert beats.count("none") > 20, "after each call of a network, before any engine is named"
    assert beats[-1] in ("openvino", "openvino-bf16")


def test_an_engine_ends_in_good_order_when_another_bundle_is_active(
    settings: config.Settings, tiny_folder: Path, tiny_offer: Offer
) -> None:
    engine = EngineProcess(settings)
    journal = Journal(settings.journal_path, reserve=0)
    job, _ = journal.submit(GenerationRequest.of({"prompt": "a", "steps": 9}, tiny_offer))
    engine._driver.turn()
    slots = Slots(settings.data_dir)
    slots.activate(install(tiny_folder, slots))
    engine.run()
    assert journal.job(job.id).state is JobState.QUEUED
