"""The driver: one turn takes one denoise step for as many pictures as fit in a batch, and ends what is done.

A job in the engine's hands is a `Flight`; its pictures are separate values that batch with those of any other job.
Everything happens between two steps: joining, cancelling, previewing, checkpointing, ending.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from appliance import png
from appliance.errors import BadInput, EngineFault, NoRoom, Unavailable
from appliance.images import ImageStore
from appliance.journal import Claimed, Journal
from appliance.pipeline.denoise import DenoiseState, advance, feeds
from appliance.pipeline.inpaint import keep_outside
from appliance.pipeline.picture_check import PictureCheck, blurred
from appliance.progress import Board, Progress
from appliance.request import GenerationRequest, Offer
from appliance.worker.batch import choose, rows
from appliance.worker.checkpoint import Checkpoints
from appliance.worker.measure import Measure, Measured, Pipeline

log = logging.getLogger(__name__)

PREVIEW_EVERY = 0.2  # seconds
CHECKPOINT_EVERY = 5.0
RETRY_EVERY = 2.0  # when the disk is full
_SMOOTHING = 0.2


@dataclass
class Picture:
    """One picture being made; `png` once it is drawn, `stored` once it is on the disk."""

    image_id: str
    index: int
    state: DenoiseState
    served: int = 0
    png: bytes | None = None
    blurred: bool = False
    stored: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.state.latents.shape

    @property
    def rows(self) -> int:
        return self.state.rows


@dataclass
class Flight:
    """One claimed job and its pictures."""

    job_id: str
    request: GenerationRequest
    alone: bool
    pictures: list[Picture]
    shown: float = field(default=-1e9)
    kept: float = field(default=-1e9)

    @property
    def drawn(self) -> bool:
        return all(picture.png is not None for picture in self.pictures)


class Driver:
    """Holds the flights. `turn` is `look`, then `work`; the process looks only when somebody rang."""

    def __init__(
        self,
        journal: Journal,
        session: str,
        store: ImageStore,
        board: Board,
        checkpoints: Checkpoints,
        pipeline: Pipeline,
        *,
        offer: Offer,
        bundle: str,
        batch_limit: int,
        measure: Measure | None = None,
        check: PictureCheck | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._session = session
        self._store = store
        self._board = board
        self._checkpoints = checkpoints
        self._measure = measure or Measure(pipeline.engine_name)
        self._pipeline = Measured(pipeline, self._measure)
        self._check = check
        self._offer = offer
        self._bundle = bundle
        self._limit = batch_limit
        self._clock = clock
        self._turns = 0
        self._seconds_per_turn: float | None = None
        self._retry_at = -1e9
        self._failing: dict[str, str] = {}  # job id → why; until the journal has it
        self._busy = 0.0  # seconds of work since a job last finished
        self.seconds_per_picture: float | None = None
        self.flights: dict[str, Flight] = {}
        self.pictures = 0
        self.proven_pixels = 0  # in flight together, of the largest job that finished
        self.note: str | None = None

    def turn(self) -> bool:
        """Look, then work. False when there was nothing to do."""
        self.look()
        return self.work()

    def look(self) -> None:
        """Ask the journal: drop the cancelled, admit the waiting. Needed only when somebody rang."""
        with self._patience():
            self._drop_cancelled()
            self._admit()
            self._journal.sweep_inputs()

    def work(self) -> bool:
        """Take a step, end the done. False when there was nothing to do."""
        self._turns += 1
        worked = False
        with self._patience():
            worked = self._step()
            if self._clock() >= self._retry_at:
                for job_id in list(self._failing):
                    self._fail(job_id)
                for flight in [flight for flight in self.flights.values() if flight.drawn]:
                    self._settle(flight)
        return worked

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """A full disk or a busy journal is tried again later: it loses nothing."""
        try:
            yield
        except (NoRoom, Unavailable) as error:
            self._retry_at = self._clock() + RETRY_EVERY
            self.note = str(error)

    def stop(self) -> None:
        """Give everything back in good order: checkpoints on the disk, jobs queued again, charged to nobody."""
        for flight in self.flights.values():
            self._checkpoint(flight)
        self._journal.release(self._session)
        for job_id in self.flights:
            self._board.clear(job_id)
        self.flights.clear()

    # --- between two steps ---------------------------------------------------------------------------------------

    def _drop_cancelled(self) -> None:
        if not self.flights:
            return
        for job_id in self._journal.cancelled(self._session) & self.flights.keys():
            self._journal.stop(self._session, job_id)
            log.info("cancelled", extra={"job": job_id})
            self._abandon(self.flights[job_id])

    def _admit(self) -> None:
        while rows(self._waiting()) < self._limit and not any(flight.alone for flight in self.flights.values()):
            claimed = self._journal.claim(self._session)
            if claimed is None:
                return
            self._take(claimed)

    def _take(self, claimed: Claimed) -> None:
        """Build the request again from the journal's row: the doors are not trusted."""
        try:
            request = GenerationRequest.from_json(claimed.request, self._offer, self._journal.input)
            flight = Flight(
                claimed.id,
                request,
                claimed.alone,
                [self._begin(request, index, image_id) for index, image_id in enumerate(claimed.images)],
            )
        except (BadInput, EngineFault) as error:
            self._failing[claimed.id] = str(error)
            return
        self.flights[claimed.id] = flight
        log.info("begun", extra={"job": claimed.id, "pictures": len(flight.pictures), "steps": request.steps})
        self._show(flight)
        truncated = self._pipeline.truncated(request)
        if truncated is not None:
            self._journal.note_truncated(self._session, claimed.id, truncated)

    def _begin(self, request: GenerationRequest, index: int, image_id: str) -> Picture:
        state = self._checkpoints.restore(image_id, self._pipeline.start(request, index))
        return Picture(image_id, index, state, served=self._turns)

    # --- the step ------------------------------------------------------------------------------------------------

    def _waiting(self) -> list[Picture]:
        flying = [flight for flight in self.flights.values() if flight.job_id not in self._failing]
        return [picture for flight in flying for picture in flight.pictures if picture.png is None]

    def _step(self) -> bool:
        batch = choose(self._waiting(), self._limit)
        if not batch:
            return False
        began = self._clock()
        unfinished = [picture for picture in batch if not picture.state.done]
        predictions = self._pipeline.predict([feeds(picture.state) for picture in unfinished]) if unfinished else []
        for picture, noise_pred in zip(unfinished, predictions, strict=True):
            picture.state = advance(picture.state, noise_pred)
        for picture in batch:
            picture.served = self._turns
        self._pace(self._clock() - began)
        served = {picture.image_id for picture in batch}
        for flight in list(self.flights.values()):
            if any(picture.image_id in served for picture in flight.pictures):
                self._after_step(flight)
        return True

    def _after_step(self, flight: Flight) -> None:
        try:
            for picture in flight.pictures:
                if picture.state.done and picture.png is None:
                    picture.png = self._draw(flight, picture)
        except EngineFault as error:
            self._failing[flight.job_id] = str(error)
            return
        now = self._clock()
        if now - flight.shown >= PREVIEW_EVERY:
            self._show(flight)
        if now - flight.kept >= CHECKPOINT_EVERY:
            if flight.kept > 0:
                self._checkpoint(flight)
            flight.kept = now

    def _draw(self, flight: Flight, picture: Picture) -> bytes:
        pixels = keep_outside(self._pipeline.decode(picture.state.latents), flight.request)
        if self._check is not None:
            with self._measure.stage("picture_check"):
                picture.blurred = self._check.flags(pixels)
        return png.encode_with_request(
            blurred(pixels) if picture.blurred else pixels,
            flight.request,
            picture.index,
            engine=self._pipeline.engine_name,
            bundle=self._bundle,
            blurred=picture.blurred,
        )

    def _pace(self, seconds: float) -> None:
        self._busy += seconds
        self._seconds_per_turn = _smoothed(self._seconds_per_turn, seconds)

    # --- telling -------------------------------------------------------------------------------------------------

    def _show(self, flight: Flight) -> None:
        flight.shown = self._clock()
        steps = sum(len(picture.state.schedule.timesteps) for picture in flight.pictures)
        step = sum(picture.state.step for picture in flight.pictures)
        self._board.show(
            flight.job_id,
            Progress(
                step=step,
                steps=steps,
                seconds_left=self._seconds_left(flight),
                previews=self._previews(flight),
            ),
        )

    def _previews(self, flight: Flight) -> list[str]:
        """None where pictures are checked: that is done when they are whole, and until then nobody sees them."""
        if self._check is not None:
            return []
        return [self._preview(picture) for picture in flight.pictures if picture.state.step > 0]

    def _preview(self, picture: Picture) -> str:
        return base64.b64encode(png.encode(self._pipeline.preview(picture.state))).decode()

    def _seconds_left(self, flight: Flight) -> float | None:
        """Turns still needed times what a turn took lately; with more rows than fit, pictures take turns."""
        if self._seconds_per_turn is None:
            return None
        left = max(len(picture.state.schedule.timesteps) - picture.state.step for picture in flight.pictures)
        crowd = max(1.0, rows(self._waiting()) / self._limit)
        shapes = len({picture.shape for picture in self._waiting()})
        return left * self._seconds_per_turn * max(crowd, shapes)

    def _checkpoint(self, flight: Flight) -> None:
        for picture in flight.pictures:
            if picture.state.step > 0:
                self._checkpoints.save(picture.image_id, picture.state)

    # --- the end -------------------------------------------------------------------------------------------------

    def _settle(self, flight: Flight) -> None:
        """Pictures on the disk, then the end committed, then everyone told. Raises `NoRoom`, `Unavailable`."""
        for picture in flight.pictures:
            if not picture.stored and picture.png is not None:
                with self._measure.stage("store"):
                    self._store.save(picture.image_id, picture.png)
                picture.stored = True
        found = [picture.image_id for picture in flight.pictures if picture.blurred]
        self._journal.finish(self._session, flight.job_id, engine=self._pipeline.engine_name, blurred=found)
        self.note = None
        self.pictures += len(flight.pictures)
        self._measure.finished(len(flight.pictures))
        size = flight.request.width * flight.request.height * flight.request.count
        self.proven_pixels = max(self.proven_pixels, size)
        log.info("finished", extra={"job": flight.job_id, "engine": self._pipeline.engine_name,
                                    "seconds": round(self._busy, 3)})  # fmt: skip
        self.seconds_per_picture = _smoothed(self.seconds_per_picture, self._busy / len(flight.pictures))
        self._busy = 0.0
        self._leave(flight)

    def _fail(self, job_id: str) -> None:
        self._journal.fail(self._session, job_id, self._failing[job_id])
        log.warning("failed", extra={"job": job_id, "error": self._failing[job_id]})
        del self._failing[job_id]
        if job_id in self.flights:
            self._abandon(self.flights[job_id])
        self._board.ring(job_id)

    def _abandon(self, flight: Flight) -> None:
        """The job ended without its pictures: none of them stays on the disk."""
        for picture in flight.pictures:
            self._store.remove(picture.image_id)
        self._leave(flight)

    def _leave(self, flight: Flight) -> None:
        del self.flights[flight.job_id]
        for picture in flight.pictures:
            self._checkpoints.drop(picture.image_id)
        self._board.clear(flight.job_id)


def _smoothed(before: float | None, now: float) -> float:
    """The figure of late: each new one moves it by a part."""
    return now if before is None else before + _SMOOTHING * (now - before)
