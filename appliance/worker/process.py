"""The engine's life: take the lock, load the bundle, draw one picture to prove it, then turn for ever.

An error here ends the process: after a CUDA fault nothing in it can be trusted, and the supervisor starts a new one.
The journal then knows which jobs it held.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

import numpy as np

from appliance.config import Settings
from appliance.engines import Engine
from appliance.errors import EngineFault
from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.lock import only_one
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.progress import Board, Pulse, board_folder, boottime
from appliance.request import GenerationRequest
from appliance.worker.checkpoint import Checkpoints
from appliance.worker.drive import Driver

IDLE_SECONDS = 1.0
LOOK_EVERY = 0.25  # seconds between two looks at the journal when nobody rings
BEAT_EVERY = 0.5
LOAD_PATIENCE = 300.0
_STEP_PATIENCE = 15.0
_PROOF_STEPS = 2


class Heart:
    """Tells the board, at most every `BEAT_EVERY` seconds, that the engine works; patient as its longest turn asks."""

    def __init__(self, board: Board, first: Pulse) -> None:
        self._board = board
        self._pulse = first
        self._told = -1e9
        self._longest = 0.0
        self.tell()

    def tell(self, **changes: object) -> None:
        """Overwrite the pulse now, with what has changed."""
        self._told = time.monotonic()
        self._pulse = self._pulse.model_copy(update={**changes, "beat": boottime()})
        self._board.beat(self._pulse)

    def worked(self, seconds: float, driver: Driver) -> None:
        """A turn is done."""
        self._longest = max(self._longest, seconds)
        if time.monotonic() - self._told < BEAT_EVERY:
            return
        changes: dict[str, object] = {"pictures": 1 + driver.pictures, "note": driver.note}
        if driver.seconds_per_picture is not None:
            changes["seconds_per_picture"] = driver.seconds_per_picture
        self.tell(**changes, patience=_STEP_PATIENCE + 4 * self._longest)


class EngineProcess:
    """Everything the engine holds for its life, under its lock. `run` returns when it was asked to stop."""

    def __init__(self, settings: Settings, engine: Engine | None = None) -> None:
        journal = Journal(settings.journal_path, queue_limit=settings.queue_limit)
        self._board = Board(board_folder(settings.data_dir))
        self._board.clear_all()
        self._stopping = False
        session = journal.open_session()
        bundle = Bundle.open(settings.bundle)
        named = bundle.manifest.title
        self._heart = Heart(self._board, _first_pulse(session, named))
        bundle.verify()
        pipeline = TextToImage.load(bundle, engine, settings.threads)
        pace = prove(pipeline)
        checkpoints = Checkpoints(settings.checkpoints_dir)
        checkpoints.keep_only(journal.open_images())
        self._driver = Driver(
            journal,
            session,
            ImageStore(settings.images_dir),
            self._board,
            checkpoints,
            pipeline,
            offer=bundle.manifest.offer(),
            bundle=named,
            batch_limit=bundle.manifest.limits.batch,
        )
        self._heart.tell(
            engine=pipeline.engine_name, pictures=1, note=None, patience=_STEP_PATIENCE, seconds_per_picture=pace
        )

    def run(self) -> None:
        """Turn until `ask_to_stop`, then give the jobs back in good order."""
        with self._board.bell() as bell:
            looked = -LOOK_EVERY
            rung = True
            while not self._stopping:
                began = time.monotonic()
                if rung or began - looked >= LOOK_EVERY:
                    looked = began
                    self._driver.look()
                worked = self._driver.work()
                self._heart.worked(time.monotonic() - began, self._driver)
                rung = bool(bell.wait(0.0 if worked else IDLE_SECONDS))
        self._driver.stop()

    def ask_to_stop(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """Finish the present step, then stop; safe in a signal handler."""
        self._stopping = True


def prove(pipeline: TextToImage) -> float:
    """Draw a real picture (twice, to time it warm); returns the seconds a default one takes. Raises `EngineFault`."""
    manifest = pipeline.bundle.manifest
    offer = manifest.offer()
    steps = max(_PROOF_STEPS, offer.steps[0])
    request = GenerationRequest.of({"prompt": manifest.example, "seed": 1, "steps": steps}, offer)
    for _ in range(2):  # the first run of a network is never its pace
        began = time.monotonic()
        *_, state = pipeline.denoise(request)
        denoised = time.monotonic()
        pixels = pipeline.decode(state.latents)
        decoded = time.monotonic()
    if int(np.ptp(pixels)) == 0:
        raise EngineFault("The engine draws one flat colour: verify the bundle with `ensueno model verify`.")
    return (denoised - began) * offer.default_steps / steps + (decoded - denoised)


def run(settings: Settings, engine: Engine | None = None) -> None:
    """The whole life of the process. Raises `Unavailable` when another engine holds this data dir."""
    with only_one(settings.data_dir / "engine.lock", "Another engine"):
        process = EngineProcess(settings, engine)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, process.ask_to_stop)
        process.run()


def _first_pulse(session: str, bundle: str) -> Pulse:
    return Pulse(
        pid=os.getpid(),
        session=session,
        engine="none",
        bundle=bundle,
        beat=boottime(),
        patience=LOAD_PATIENCE,
        note="The model is being loaded.",
    )
