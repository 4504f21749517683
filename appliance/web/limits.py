"""The web's own figures, in seconds unless they say otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import time

MAX_BODY = 64 << 10  # bytes of a request
THREADS = 32
PATIENCE = 10.0  # for a whole request to arrive


@dataclass(frozen=True, slots=True)
class Limits:
    """What the routes hold to.

    `max_watchers` bounds the requests that hold a thread for long (streams, OpenAI's waits): below `THREADS`.
    """

    max_watchers: int = 22
    heartbeat: float = 5.0
    stream_life: float = 900.0
    wait_limit: float = 300.0
    disk: Path | None = None  # whose free room the metrics tell
    clock: Callable[[], float] = time
