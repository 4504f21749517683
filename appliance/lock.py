"""Who must be the only one: a file lock, which the kernel frees however its holder ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance import durable
from appliance.errors import Unavailable


@contextmanager
def only_one(path: Path, who: str) -> Iterator[None]:
    """Hold the lock at `path`. Raises `Unavailable` when another does, `BadInput` or `NoRoom` where it cannot lie."""
    try:
        durable.private_folder(path.parent)
        file = path.open("w")
    except OSError as error:
        raise durable.unusable(path.parent, error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"{who} already works on {path.parent}: stop it first.") from None
        yield
