"""SIGINT (Ctrl-C) and SIGTERM (systemd, kill) heard for a while; afterwards they mean what they did before."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heard(
    handler: Callable[[int, FrameType | None], object], numbers: tuple[signal.Signals, ...] = STOPS
) -> Iterator[None]:
    """`handler` is called, in the main thread, with each of `numbers` that comes meanwhile."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
