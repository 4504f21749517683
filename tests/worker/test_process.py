"""The engine's life around the driver: lock, proof, pulse, stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance import config
from appliance.errors import EngineFault
from appliance.job import JobState
from appliance.journal import Journal
from appliance.pipeline.text_to_image import TextToImage
from appliance.progress import Board, board_folder, engine_alive
from appliance.request import GenerationRequest, Offer
from appliance.worker.process import EngineProcess


@pytest.fixture
def settings(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> config.Settings:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return config.load({"data_dir": tmp_path / "data", "bundle": tiny_folder, "threads": 1, "reserve_mib": 0})


def test_an_engine_draws_one_picture_before_it_says_it_is_ready(settings: config.Settings) -> None:
    EngineProcess(settings)
    pulse = Board(board_folder(settings.data_dir)).pulse()
    assert engine_alive(pulse)
    assert pulse is not None
    assert (pulse.pictures, pulse.engine, pulse.bundle) == (1, "onnxruntime", "tiny 0.0.1")
    assert pulse.seconds_per_picture is not None


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
    (waiting,) = journal.open_images()
    settings.checkpoints_dir.mkdir(parents=True)
    for name in (waiting, "0" * 26):
        (settings.checkpoints_dir / f"{name}.npz").write_bytes(b"half a picture")
    EngineProcess(settings)
    assert [path.stem for path in settings.checkpoints_dir.iterdir()] == [waiting]


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
