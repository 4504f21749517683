"""The engine's life: take the lock, load the bundle, draw one picture to prove it, then turn for ever.

An error here ends the process: after a CUDA fault nothing in it can be trusted, and the supervisor starts a new one. The
journal then knows which jobs it held.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np

from appliance.config import Settings
from appliance.errors import EngineFault, Unavailable
from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.progress import Board, Pulse, board_folder, boottime
from appliance.request import GenerationRequest
from appliance.worker.checkpoint import Checkpoints
from appliance.worker.drive import Driver

IDLE_SECONDS = 1.0
BEAT_EVERY = 0.5
_PROOF_STEPS = 2


class EngineProcess:
    """Everything the engine holds for its life, under `only_engine`. `run` returns when it was asked to stop."""

    def __init__(self, settings: Settings) -> None:
        self._journal = Journal(settings.journal_path, queue_limit=settings.queue_limit)
        self._board = Board(board_folder(settings.data_dir))
        self._board.clear_all()
        self._session = self._journal.open_session()
        self._stopping = False
        self._beat_at = -1e9
        bundle = Bundle.open(settings.bundle)
        self._manifest = bundle.manifest
        self._engine_name = "none"
        self._proven = 0
        self._driver: Driver | None = None
        self._beat()
        bundle.verify()
        pipeline = TextToImage.load(bundle, threads=settings.threads)
        self._engine_name = pipeline.engine_name
        self._seconds_per_picture = self._prove(pipeline)
        self._driver = Driver(
            self._journal,
            self._session,
            ImageStore(settings.images_dir),
            self._board,
            Checkpoints(settings.checkpoints_dir),
            pipeline,
            offer=self._manifest.offer(),
            bundle=self._bundle_name,
            batch_limit=self._manifest.limits.batch,
        )
        self._beat()

    def run(self) -> None:
        """Turn until `ask_to_stop`, then give the jobs back in good order."""
        assert self._driver is not None
        with self._board.bell() as bell:
            while not self._stopping:
                worked = self._driver.turn()
                if not worked:
                    bell.wait(IDLE_SECONDS)
                if time.monotonic() - self._beat_at >= BEAT_EVERY:
                    self._beat()
        self._driver.stop()

    def ask_to_stop(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """Finish the present step, then stop; safe in a signal handler."""
        self._stopping = True

    @property
    def _bundle_name(self) -> str:
        return f"{self._manifest.name} {self._manifest.version}"

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        driver = self._driver
        self._board.beat(
            Pulse(
                pid=os.getpid(),
                session=self._session,
                engine=self._engine_name,
                bundle=self._bundle_name,
                pictures=self._proven + (driver.pictures if driver else 0),
                beat=boottime(),
                seconds_per_picture=self._seconds_per_picture if driver else None,
                note=driver.note if driver else "The model is being loaded.",
            )
        )

    def _prove(self, pipeline: TextToImage) -> float:
        """Draw one real picture; returns the seconds a default one should take. Raises `EngineFault`."""
        offer = self._manifest.offer()
        words = next(iter(self._manifest.examples.values()), ["a red apple"])[0]
        steps = max(_PROOF_STEPS, offer.steps[0])
        request = GenerationRequest.of({"prompt": words, "seed": 1, "steps": steps}, offer)
        *_, state = pipeline.denoise(request)
        began = time.monotonic()
        *_, state = pipeline.denoise(request)
        pixels = pipeline.decode(state.latents)
        if int(np.ptp(pixels)) == 0:
            raise EngineFault("The engine draws one flat colour: verify the bundle with `ensueno model verify`.")
        self._proven = 1
        return (time.monotonic() - began) * offer.default_steps / steps


def run(settings: Settings) -> None:
    """The whole life of the process. Raises `Unavailable` when another engine holds this data dir."""
    with only_engine(settings.data_dir):
        engine = EngineProcess(settings)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, engine.ask_to_stop)
        engine.run()


@contextmanager
def only_engine(data_dir: Path) -> Iterator[None]:
    """Only one engine for each data dir; the kernel frees the lock however this process ends."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "engine.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"Another engine already works on {data_dir}: stop it first.") from None
        yield
