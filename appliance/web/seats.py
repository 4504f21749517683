"""A bound on the requests that hold a thread for long, so that short ones always find one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.errors import Unavailable


class Seats:
    """`total` places; `take` one, `give_back` it once. `refusal` is said to whoever finds none."""

    def __init__(self, total: int, refusal: str) -> None:
        self.total = total
        self._refusal = refusal
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        return self._taken

    def take(self) -> None:
        """Raises `Unavailable` when none is free."""
        with self._lock:
            if self._taken >= self.total:
                raise Unavailable(self._refusal)
            self._taken += 1

    def give_back(self) -> None:
        with self._lock:
            self._taken -= 1

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Hold one place for a block."""
        self.take()
        try:
            yield
        finally:
            self.give_back()
