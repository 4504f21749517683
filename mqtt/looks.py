"""What the broker keeps of one job's claim, read before anybody believes that there is none.

A broker hands out no more of what it keeps than it holds in a queue (Mosquitto: 1,000), and drops the rest without a
word, so whoever asked for all claims at once would miss some of a busy pool. A look asks for one: it subscribes to that
claim alone, then says a word to itself (`topics.fence`), which comes back behind it. A connection's first word asks for
nothing: when it is there, so is what the broker held back while we were away. A word that was dropped is said again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from appliance.ids import new_id
from mqtt import topics
from mqtt.connection import Connection, Delivery

AGAIN = 5.0  # seconds after which a word that has not come back is said again
_ALL_SO_FAR = ""  # in a job's place: the connection's first word


@dataclass(frozen=True, slots=True)
class _Look:
    word: bytes
    said: float


class Looks:
    """The looks of one pool over the box's main connection: `begin` at each of its lives. `done` hears of each that is
    over, with its job and the time."""

    def __init__(self, pool: str, device: str, connection: Connection, done: Callable[[str, float], None]) -> None:
        self._pool = pool
        self._connection = connection
        self._done = done
        self.topic = topics.fence(pool, device)
        self._looks: dict[str, _Look | None] = {}  # by job; None: to be said
        self._seen: set[str] = set()

    @property
    def caught_up(self) -> bool:
        """Whether all has come that the broker held back for us."""
        return _ALL_SO_FAR in self._seen

    def begin(self) -> None:
        self._seen.clear()
        self._looks = {_ALL_SO_FAR: None}

    def seen(self, job_id: str) -> bool:
        """Whether its claim was read on this connection."""
        return job_id in self._seen

    def want(self, job_ids: Iterable[str]) -> None:
        """Look at these jobs' claims, as far as they were not seen, and forget the others."""
        wanted = {_ALL_SO_FAR, *job_ids}
        self._seen &= wanted
        self._looks = {job_id: self._looks.get(job_id) for job_id in wanted - self._seen}

    def turn(self, now: float) -> None:
        """Say what was not said yet, or so long ago that it was dropped."""
        for job_id in [_ALL_SO_FAR] if not self.caught_up else list(self._looks):
            look = self._looks[job_id]
            if look is None or now - look.said >= AGAIN:
                self._looks[job_id] = self._say(job_id, now)

    def heard(self, delivery: Delivery, now: float) -> None:
        """A word: whose look is it?"""
        for job_id, look in self._looks.items():
            if look is not None and look.word == delivery.correlation:
                del self._looks[job_id]
                self._seen.add(job_id)
                if job_id != _ALL_SO_FAR:
                    self._connection.unsubscribe(topics.claim(self._pool, job_id))
                self._done(job_id, now)
                return

    def _say(self, job_id: str, now: float) -> _Look | None:
        word = new_id().encode()
        if job_id != _ALL_SO_FAR:
            self._connection.subscribe(topics.claim(self._pool, job_id))
        said = self._connection.publish(self.topic, b"", expiry=int(AGAIN) + 1, correlation=word)
        return None if said is None else _Look(word, now)
