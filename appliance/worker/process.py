"""The engine's life: take the lock, load the bundle, draw one picture to prove it, then turn for ever.

An error here ends the process: after a CUDA fault nothing in it can be trusted, and the supervisor starts a new one.
The journal then knows which jobs it held.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

import numpy as np

from appliance import notify
from appliance.bundles.slots import Slots
from appliance.config import Settings
from appliance.device import sensors
from appliance.device.footprint import Footprint
from appliance.engines.attended import AttendedEngine
from appliance.errors import EngineFault
from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.ladder import ladder, trial
from appliance.lock import only_one
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.picture_check import PictureCheck
from appliance.pipeline.text_to_image import TextToImage
from appliance.progress import Board, Pulse, board_folder, boottime
from appliance.request import GenerationRequest
from appliance.worker.checkpoint import Checkpoints
from appliance.worker.cooling import Cooling
from appliance.worker.drive import Driver
from appliance.worker.fitting import Fitting
from appliance.worker.measure import Measure

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
LOOK_EVERY = 0.25  # seconds between two looks at the journal when nobody rings
BEAT_EVERY = 0.5
LOAD_PATIENCE = 300.0
_STEP_PATIENCE = 15.0
_PROOF_STEPS = 2


class Heart:
    """Tells the board and systemd, at most every `BEAT_EVERY` seconds, that the engine works.

    Both are as patient as its longest turn asks, systemd never less than `watchdog` seconds; until `ready` it is told
    so of the start, which a large bundle on a slow engine makes longer than any limit.
    """

    def __init__(self, board: Board, first: Pulse, watchdog: float = 300.0) -> None:
        self._board = board
        self._watchdog = watchdog
        self._pulse = first
        self._told = -1e9
        self._longest = 0.0
        self._say: Callable[[float], None] = notify.starting
        self.tell()

    def tell(self, **changes: object) -> None:
        """Overwrite the pulse now, with what has changed."""
        self._told = time.monotonic()
        self._pulse = self._pulse.model_copy(update={**changes, "beat": boottime()})
        self._board.beat(self._pulse)
        self._say(max(self._watchdog, self._pulse.patience))

    def ready(self, status: str, **changes: object) -> None:
        """The start is over; `status` is one line for `systemctl status`."""
        self.tell(**changes)
        self._say = notify.working
        notify.ready(status)

    def alive(self) -> None:
        """A network answered, or as much was done."""
        if time.monotonic() - self._told >= BEAT_EVERY:
            self.tell()

    def worked(self, seconds: float, driver: Driver, measure: Measure, note: str | None = None) -> None:
        """A turn is done; `note` is what those who wait should know."""
        self._longest = max(self._longest, seconds)
        if time.monotonic() - self._told < BEAT_EVERY:
            return
        changes: dict[str, object] = {"pictures": 1 + driver.pictures, "note": note or driver.note}
        if driver.proven_pixels > self._pulse.proven_pixels:
            changes["proven_pixels"] = driver.proven_pixels
        if driver.seconds_per_picture is not None:
            changes["seconds_per_picture"] = driver.seconds_per_picture
        self.tell(**changes, patience=_STEP_PATIENCE + 4 * self._longest)
        self._board.tell(measure.figures)


class EngineProcess:
    """Everything the engine holds for its life, under its lock. `run` returns when it was asked to stop.

    `wrap` may put something around the engine that is used.
    """

    def __init__(self, settings: Settings, wrap: ladder.Wrap = ladder.unwrapped) -> None:
        journal = Journal(settings.journal_path, queue_limit=settings.queue_limit)
        self._board = Board(board_folder(settings.data_dir))
        self._board.clear_all()
        self._stopping = False
        self._slot = Slots(settings.data_dir).watch()
        store = ImageStore(settings.images_dir)
        session = journal.open_session()
        _sweep(journal, store)
        bundle = Bundle.open(settings.bundle)
        named = bundle.manifest.title
        self._heart = Heart(self._board, _first_pulse(session, named), settings.watchdog_seconds)
        checked = settings.picture_check == "on"
        if checked:
            bundle.require_picture_check()
        bundle.verify()
        self._heart.alive()
        climbed = ladder.climb(bundle, settings, lambda engine: AttendedEngine(wrap(engine), self._heart.alive))
        self.pipeline = pipeline = climbed.pipeline
        self.precision = climbed.engine.precision
        check = PictureCheck.load(bundle, climbed.engine) if checked else None
        footprint = Footprint()
        with footprint.growth():
            pace = prove(pipeline)
        width, height = bundle.manifest.sizes[0]
        self._measure = Measure(pipeline.engine_name, sensors.watts)
        self._cooling = Cooling(lambda: sensors.zones().values())
        self._fitting = Fitting(settings.data_dir, climbed.lacking)
        checkpoints = Checkpoints(settings.checkpoints_dir)
        checkpoints.keep_only(journal.gallery.open_images())
        self._driver = Driver(
            journal,
            session,
            store,
            self._board,
            checkpoints,
            pipeline,
            offer=bundle.manifest.offer(),
            bundle=named,
            batch_limit=bundle.manifest.limits.batch,
            measure=self._measure,
            check=check,
        )
        self._heart.ready(
            f"{named} on {pipeline.engine_name}",
            engine=pipeline.engine_name,
            passed_over=climbed.passed_over,
            passport=climbed.passport,
            pictures=1,
            note=None,
            patience=_STEP_PATIENCE,
            seconds_per_picture=pace,
            bytes_per_pixel=footprint.bytes / (width * height),
            proven_pixels=width * height,
        )

    def run(self) -> None:
        """Turn until `ask_to_stop` or until another bundle is active, then give the jobs back in good order."""
        with self._board.bell() as bell:
            looked = -LOOK_EVERY
            rung = True
            while not self._stopping:
                began = time.monotonic()
                if rung or began - looked >= LOOK_EVERY:
                    looked = began
                    self._driver.look()
                    if self._slot.moved():
                        log.info("another bundle is active: starting again with it")
                        break
                rung = bool(bell.wait(self.turn(began)))
        notify.stopping()
        self._driver.stop()

    def turn(self, began: float) -> float:
        """Work, unless it is too hot; returns the seconds to rest. `began` is when the turn did (monotonic)."""
        parked = self._cooling.mood == "hot"
        worked = not parked and self._driver.work()
        seconds = time.monotonic() - began
        self._fitting.turned(busy=worked or parked)
        rest = self._cooling.rest(seconds)
        if not worked and not parked:
            rest = IDLE_SECONDS
        if parked:
            self._measure.parked(rest)
        self._heart.worked(seconds, self._driver, self._measure, self._cooling.note)
        return rest

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


def run(settings: Settings, wrap: ladder.Wrap = ladder.unwrapped) -> None:
    """The whole life of the process. Raises `Unavailable` when another engine holds this data dir.

    Raises `EngineFault` after a bundle on trial was rolled back: started again, it takes the one before.
    """
    with only_one(settings.data_dir / "engine.lock", "Another engine"):
        with trial.stop_raises(), trial.on_trial(settings) as on_trial:
            process = EngineProcess(settings, wrap)
            if on_trial:
                trial.judge(process.pipeline, process.precision)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, process.ask_to_stop)
        process.run()


def _sweep(journal: Journal, store: ImageStore) -> None:
    """Remove what an engine stored that died before its job's end: all that is not shown, since this one drew nothing.

    Files that this journal never allotted are left alone: they may be those of one that was damaged and set aside.

    Only after the session was committed. An engine that dies inside its last commit may leave it whole in the
    write-ahead log and yet unseen (the log's index was not told); a recovery would bring it back, and a picture that
    was removed meanwhile would be missing. The session's own commit takes that place in the log.
    """
    unseen = store.names() - journal.gallery.shown_images()
    for image_id in unseen & journal.gallery.ever_allotted() if unseen else ():
        store.remove(image_id)


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
