"""The tests' vocabulary: a tiny bundle made once, an offer, requests, and a box's parts in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.picture_check import PictureCheck
from appliance.pipeline.text_to_image import TextToImage
from appliance.progress import Board
from appliance.request import GenerationRequest, Offer
from appliance.worker.checkpoint import Checkpoints
from appliance.worker.drive import Driver
from tests.tiny_bundles import make_starting_bundle, make_tiny_bundle

# A slow machine is no fault of the code: nothing here fails for the time that it takes.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _reference_engine() -> Iterator[None]:
    """Boxes and commands draw with the engine that is everywhere, and start at once; `test_ladder.py` climbs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENSUENO_ENGINE", "onnxruntime")
        yield


@pytest.fixture(scope="session", autouse=True)
def _boards() -> Iterator[None]:
    """Boxes keep their boards where nothing of them is left behind."""
    with tempfile.TemporaryDirectory(prefix="ens-", dir="/dev/shm") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", folder)
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle, tiny and untrained: read it only."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Bundle:
    return Bundle.open(tiny_folder)


@pytest.fixture(scope="session")
def tiny_offer(tiny: Bundle) -> Offer:
    return tiny.manifest.offer()


@pytest.fixture(scope="session")
def pipeline(tiny: Bundle) -> TextToImage:
    return TextToImage.load(tiny, threads=1)


@pytest.fixture(scope="session")
def starting_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle that can start from a picture: read it only."""
    return make_starting_bundle(tmp_path_factory.mktemp("bundle") / "starting")


@pytest.fixture(scope="session")
def starting(starting_folder: Path) -> TextToImage:
    """Its pipeline."""
    return TextToImage.load(Bundle.open(starting_folder), threads=1)


class Clock:
    """Time that moves only when told."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Box:
    """A box's parts over one data dir; `driver()` is an engine's life, `submit` a door."""

    folder: Path
    offer: Offer
    pipeline: TextToImage
    clock: Clock = field(default_factory=Clock)
    boot: str = "boot-1"

    def __post_init__(self) -> None:
        self.board = Board(self.folder / "board")
        self.store = ImageStore(self.folder / "images")
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self.journal = self.open_journal()

    def open_journal(self) -> Journal:
        return Journal(self.folder / "journal.db", reserve=0, clock=self.clock, boot=self.boot)

    def driver(self, pipeline: Any = None, batch_limit: int = 8, check: PictureCheck | None = None) -> Driver:
        """A new engine's driver, with its own session."""
        return Driver(
            self.journal,
            self.journal.open_session(),
            self.store,
            self.board,
            self.checkpoints,
            pipeline or self.pipeline,
            offer=self.offer,
            bundle="tiny 0.0.1",
            batch_limit=batch_limit,
            check=check,
            clock=self.clock,
        )

    def submit(self, prompt: str = "a red apple", **fields: Any) -> str:
        request = GenerationRequest.of({"prompt": prompt, "seed": 7, **fields}, self.offer)
        return self.journal.submit(request)[0].id


@pytest.fixture
def box(tmp_path: Path, tiny_offer: Offer, pipeline: TextToImage) -> Box:
    return Box(tmp_path, tiny_offer, pipeline)


@pytest.fixture
def finish() -> Callable[[Driver], int]:
    """Turn until nothing is left to do; returns the number of turns that worked."""

    def turn_until_idle(driver: Driver) -> int:
        for turns in range(1000):
            if not driver.turn() and not driver.flights:
                return turns
        raise AssertionError("the driver never became idle")

    return turn_until_idle
