"""What is kept and what goes: pictures that somebody deletes, that are too many or too old, and files of nobody.

A picture goes from the journal first and from the disk then. What a crash leaves between the two is a file of nobody,
and is swept. Favourites never go by themselves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from appliance.ballast import Ballast
from appliance.errors import EnsuenoError
from appliance.images import ImageStore
from appliance.job import Image
from appliance.journal import Journal

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds between two turns
LOOK_EVERY = 60.0  # seconds between two looks at what is too much
SWEEP_EVERY = 86_400.0
AT_ONCE = 200  # pictures; the next turn goes on
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How much is kept of what may go: bytes, and days of the box's own life (the time that it was on); None: all."""

    most_bytes: int | None = None
    most_days: float | None = None


class Keeper:
    """Removes pictures. `turn` is one look; the web's process repeats it (`begin`)."""

    def __init__(
        self,
        journal: Journal,
        store: ImageStore,
        ballast: Ballast,
        rules: Rules | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._store = store
        self._ballast = ballast
        self._rules = rules or Rules()
        self._clock = clock
        self._next_look = self._next_sweep = float("-inf")

    def remove(self, image_id: str) -> Image:
        """Delete a picture, also on a full disk; → what it was. Raises `NotFound`, `NoRoom`, `Unavailable`."""
        image = self._ballast.making_room(lambda: self._journal.gallery.forget(image_id))
        self._store.remove(image_id)
        return image

    def turn(self) -> None:
        """Lay the ballast by; now and then look for what is too old or too much, and for files of nobody."""
        self._ballast.lay()
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            for image_id, why in self._surplus().items():
                self.remove(image_id)
                log.info("picture removed", extra={"image": image_id, "why": why})
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_EVERY
            self._sweep()

    def _surplus(self) -> dict[str, str]:
        """Pictures that the rules let go, and by which of them."""
        most_bytes, most_days = self._rules.most_bytes, self._rules.most_days
        found = {}
        if most_days is not None:
            found = dict.fromkeys(self._journal.gallery.older(most_days * DAY)[:AT_ONCE], "age")
        if most_bytes is not None:
            for image_id in self._beyond(most_bytes)[:AT_ONCE]:
                found.setdefault(image_id, "bytes")
        return found

    def _beyond(self, most_bytes: int) -> list[str]:
        """The oldest of those that may go, but for the newest that fit. What stays whatever happens does not count:
        else many favourites would cost each new picture its place."""
        sizes = self._store.sizes()
        if sum(sizes.values()) <= most_bytes:
            return []
        may_go = self._journal.gallery.older(0.0)
        room = most_bytes
        for place, image_id in reversed(list(enumerate(may_go))):
            room -= sizes.get(image_id, 0)
            if room < 0:
                return may_go[: place + 1]
        return []

    def _sweep(self) -> None:
        """Files first, then whose they are: one that is drawn meanwhile belongs to an open job.

        Files that this journal never allotted are left alone: they may be those of one that was damaged and set aside.
        """
        files = self._store.names()
        unknown = files - self._journal.gallery.known_images() if files else set()
        for image_id in unknown & self._journal.gallery.ever_allotted() if unknown else ():
            self._store.remove(image_id)
            log.info("file of nobody removed", extra={"image": image_id})


def begin(keeper: Keeper) -> threading.Event:
    """Turn in a thread of its own until the event is set. What cannot be done now is tried again."""
    over = threading.Event()

    def turn_on() -> None:
        while not over.is_set():
            try:
                keeper.turn()
            except EnsuenoError as error:
                log.warning("keeping: %s", error)
            over.wait(EVERY)

    threading.Thread(target=turn_on, name="keeping", daemon=True).start()
    return over
