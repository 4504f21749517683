"""Somebody who keeps house while others ask: pictures get hearts and thumbs, and now and then one is deleted."""

from __future__ import annotations

import random
import threading

from torture.history import History
from torture.requesters import Door

_PAUSE = 0.05  # seconds
_KEPT = 10  # pictures are always left, so that there is something to keep
_ACTS = ("heart", "thumb", "delete")


class Housekeeper:
    """Does one thing after another in a thread of its own, from `start` to `stop`."""

    def __init__(self, box: Door, history: History, seed: int) -> None:
        self._box, self._history = box, history
        self._chance = random.Random(f"{seed} house")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being done, and no more."""
        self._over.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._over.wait(_PAUSE):
            self.act(self._chance.choice(_ACTS))

    def act(self, what: str) -> None:
        """One of `heart`, `thumb`, `delete`, to one of the pictures that are shown; a deletion is written down."""
        status, shown = self._box.call("GET", "/v1/images?limit=100")
        if status != 200 or not shown["images"]:
            return
        where = f"/v1/images/{self._chance.choice(shown['images'])['id']}"
        if what == "heart":
            self._box.call("POST", f"{where}/favourite", {"favourite": self._chance.random() < 0.5})
        elif what == "thumb":
            self._box.call("POST", f"{where}/feedback", {"feedback": self._chance.choice(("up", "down", None))})
        elif len(shown["images"]) > _KEPT:
            status, _ = self._box.call("DELETE", where)
            if status in (200, 0):  # without an answer it may be gone
                self._history.note("deleted", image=where.rpartition("/")[2], sure=status == 200)
