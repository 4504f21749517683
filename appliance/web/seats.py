"""A bound on the requests that hold a thread for long, so that short ones always find one, and so does an owner."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.errors import Unavailable
from appliance.web.visitors import Visitor


class Seats:
    """`total` places; `take` one, `give_back` it once. `refusal` is said to whoever finds none within his share."""

    def __init__(self, total: int, refusal: str) -> None:
        self.total = total
        self._refusal = refusal
        self._held: Counter[str | None] = Counter()
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        with self._lock:
            return self._held.total()

    def take(self, asker: Visitor) -> None:
        """Raises `Unavailable` when none is free for him."""
        with self._lock:
            if not asker.share.allows(self.total, self._held[asker.key], self._held.total()):
                raise Unavailable(self._refusal)
            self._held[asker.key] += 1

    def give_back(self, asker: Visitor) -> None:
        with self._lock:
            self._held[asker.key] -= 1
            self._held += Counter()  # forget who holds none

    @contextmanager
    def seat(self, asker: Visitor) -> Iterator[None]:
        """Hold one place for a block."""
        self.take(asker)
        try:
            yield
        finally:
            self.give_back(asker)
