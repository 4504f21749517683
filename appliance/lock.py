"""Who must be the only one: a file lock, which the kernel frees however its holder ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance import durable
from appliance.errors import BadInput, Unavailable


@contextmanager
def only_one(path: Path, who: str) -> Iterator[None]:
    """Hold the lock at `path`. Raises `Unavailable` when another does, `BadInput` when it cannot lie there."""
    try:
        durable.private_folder(path.parent)
        file = path.open("w")
    except OSError as error:
        raise BadInput(f"{path.parent} cannot be used ({error.strerror}): choose another --data-dir.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"{who} already works on {path.parent}: stop it first.") from None
        yield
