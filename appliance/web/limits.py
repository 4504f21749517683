"""The web's own figures, in seconds unless they say otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appliance.web.rates import Rate

MAX_BODY = 64 << 10  # bytes of a request
MAX_UPLOAD = 16 << 20  # bytes of a request with pictures
PICTURE_ROUTES = frozenset({"/v1/jobs", "/v1/images/edits"})
THREADS = 32
UPLOADS = 4  # at a time
PATIENCE = 10.0  # for a whole request to arrive
UPLOAD_PATIENCE = 50.0  # more, when it is a large one
# of each client that comes over the network: at once, and a second
REQUESTS = Rate(400, 20, "You ask too much at once: wait a moment.")
CHANGES = Rate(60, 1, "You ask for too much at once: wait a moment.")
BODIES = Rate(64 << 20, 1 << 20, "You send too much at once: wait a moment.")  # bytes
TRIES = Rate(5, 1 / 60, "Too many tries: wait a minute.")  # of a PIN or the password


def max_body(path: str) -> int:
    """How many bytes a request to this path may have."""
    return MAX_UPLOAD if path in PICTURE_ROUTES else MAX_BODY


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
    requests: Rate = REQUESTS
    changes: Rate = CHANGES
    bodies: Rate = BODIES
    tries: Rate = TRIES
