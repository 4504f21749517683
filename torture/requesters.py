"""People who ask: each takes the next wish, asks until it is accepted, and writes down what was promised.

The wish of a number is always the same, so an answer that was lost is asked for again with the same id and body.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import Any, Protocol

from torture.history import History

_LATER = (0, 429, 503, 507)  # nobody there, a full queue, not now, a full disk: no wrong, asked again
_AHEAD = 40  # jobs
_SEVERAL = 4
ENDS = ("finished", "failed", "cancelled", "expired")


class Door(Protocol):
    """Where people ask."""

    def call(self, method: str, path: str, body: Any = None, timeout: float = 5.0) -> tuple[int, Any]:
        """Status and json of an answer; status 0 when nobody answered."""


def wish(seed: int, number: int, steps: tuple[int, int] = (1, 4)) -> dict[str, Any]:
    """Wish `number`: some ask for several pictures, some fix their seed."""
    chance = random.Random(f"{seed} {number}")
    made: dict[str, Any] = {
        "id": f"t{seed}-{number}",
        "prompt": f"wish {number} of {seed}",
        "steps": chance.randint(*steps),
        "count": chance.choice((1, 1, 1, 2, 3)),
    }
    if chance.random() < 0.5:
        made["seed"] = chance.randrange(2**32)
    return made


def promise(
    box: Door, history: History, asked: dict[str, Any], number: int, stopping: threading.Event | None = None
) -> bool:
    """Ask until it is accepted, and write that down; False when told to stop before."""
    while stopping is None or not stopping.is_set():
        status, answer = box.call("POST", "/v1/jobs", asked)
        if status == 202:
            history.note("accepted", number=number, id=asked["id"], count=asked["count"])
            return True
        if status not in _LATER:
            history.note("refused", id=asked["id"], status=status, answer=answer)
        time.sleep(0.02)
    return False


class Requesters:
    """Several at once, until `jobs` wishes are accepted or `stop` is called.

    `more` is added to each wish. They go no further than `allow` lets them, so that there is somebody to torment until
    the last blow.
    """

    def __init__(
        self, box: Door, history: History, seed: int, jobs: int, steps: tuple[int, int] = (1, 4), **more: Any
    ) -> None:
        self._steps, self._more = steps, more
        self._box, self._history, self._seed = box, history, seed
        done = {line["number"] for line in history.lines() if line["what"] == "accepted"}
        self._numbers = (number for number in itertools.count() if number not in done)
        self._jobs = jobs
        self._asked = len(done)
        self._allowed = jobs
        self._lock = threading.Condition()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, args=(i,), daemon=True) for i in range(_SEVERAL)]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def allow(self, part: float) -> None:
        """Let them ask for this part of all jobs, and a few more."""
        with self._lock:
            self._allowed = min(self._jobs, _AHEAD + int(self._jobs * part))
            self._lock.notify_all()

    def stop(self) -> None:
        """Stop after the present wish."""
        self._stopping.set()
        self.allow(1.0)
        self.wait()

    def wait(self) -> None:
        """Until everybody is done."""
        for thread in self._threads:
            thread.join()

    @property
    def busy(self) -> bool:
        """Whether somebody still asks."""
        return any(thread.is_alive() for thread in self._threads)

    def _next(self) -> int | None:
        with self._lock:
            self._lock.wait_for(lambda: self._asked < self._allowed or self._asked >= self._jobs)
            if self._asked >= self._jobs or self._stopping.is_set():
                return None
            self._asked += 1
            return next(self._numbers)

    def _ask_on(self, number_of_mine: int) -> None:
        chance = random.Random(f"{self._seed} requester {number_of_mine}")
        while (number := self._next()) is not None:
            asked = wish(self._seed, number, self._steps) | self._more
            if not promise(self._box, self._history, asked, number, self._stopping):
                return
            if chance.random() < 0.1:
                self._cancel(asked["id"])
            if chance.random() < 0.2:
                self._look(asked["id"])

    def _cancel(self, job_id: str) -> None:
        status, _ = self._box.call("DELETE", f"/v1/jobs/{job_id}")
        if status in (200, 202):
            self._history.note("cancel asked", id=job_id)

    def _look(self, job_id: str) -> None:
        status, job = self._box.call("GET", f"/v1/jobs/{job_id}")
        if status == 200 and job["state"] in ENDS:
            self._history.note("seen ended", id=job_id, state=job["state"])
        elif status == 404:
            self._history.note("not found", id=job_id)
