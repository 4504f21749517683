"""How much one client may ask for: a bucket that fills by itself, one for each client."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from appliance.errors import TooMany

_CLIENTS = 2000  # that are remembered; the one that asked longest ago is forgotten first


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, and `per_second` more; `sentence` is said to whoever asks for more."""

    burst: float
    per_second: float
    sentence: str


class Buckets:
    """`take` counts; thread-safe."""

    def __init__(self, rate: Rate, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = now
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str, cost: float = 1.0) -> None:
        """Raises `TooMany`, and then counts nothing."""
        now, rate = self._now(), self._rate
        with self._lock:
            level, since = self._levels.pop(client, (rate.burst, now))
            level = min(rate.burst, level + (now - since) * rate.per_second)
            short = min(cost, rate.burst) - level
            self._levels[client] = (level if short > 0 else level - cost, now)
            while len(self._levels) > _CLIENTS:
                self._levels.popitem(last=False)
        if short > 0:
            raise TooMany(rate.sentence, retry_after=short / rate.per_second)


class Rates:
    """All that is counted of a client."""

    def __init__(self, requests: Rate, changes: Rate, body: Rate, tries: Rate) -> None:
        self._requests = Buckets(requests)
        self._changes = Buckets(changes)
        self._body = Buckets(body)
        self._tries = Buckets(tries)

    def count(self, client: str, *, changes: bool, size: int) -> None:
        """One request with a body of `size` bytes. Raises `TooMany`."""
        self._requests.take(client)
        if changes:
            self._changes.take(client)
        if size:
            self._body.take(client, size)

    def count_try(self, client: str) -> None:
        """One PIN or password. Raises `TooMany`."""
        self._tries.take(client)
