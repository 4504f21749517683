"""Small files that are whole or not there: written beside, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
from pathlib import Path

from appliance import failpoints
from appliance.errors import BadInput, NoRoom, NotOurs

PARTIAL = ".partial"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write(path: Path, data: bytes | memoryview, mode: int = 0o600) -> None:
    """`replace`, and what a disk refuses in one sentence. Raises `NoRoom`."""
    try:
        replace(path, data, mode)
    except OSError as error:
        remedy = "make room there" if error.errno in FULL else "check the disk"
        raise NoRoom(f"{path} could not be written ({error.strerror}): {remedy} and start it again.") from None


def replace(path: Path, data: bytes | memoryview, mode: int = 0o600) -> None:
    """Replace `path`; when this returns it survives a power cut, and before that the old file is untouched.

    Raises `OSError`, and then leaves nothing half-made.
    """
    partial = path.with_name(f"{path.name}{PARTIAL}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        failpoints.reached("file.written")
        partial.rename(path)
        failpoints.reached("file.renamed")
        sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def unusable(folder: Path, error: OSError) -> BadInput | NoRoom:
    """What to say of a data dir that takes no file: it was named wrongly, or another day it may."""
    if error.errno in (*FULL, errno.EIO):
        return NoRoom(f"{folder} cannot be used now ({error.strerror}): make room there, or check the disk.")
    return BadInput(f"{folder} cannot be used ({error.strerror}): choose another --data-dir.")


def of_another(folder: Path) -> NotOurs:
    """What to say where another user's folder would have to be read or written."""
    try:
        uid = folder.stat().st_uid
    except OSError as error:
        return NotOurs(f"{folder} cannot be reached ({error.strerror}): run it as the user that it belongs to.")
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"'#{uid}'"
    return NotOurs(f"{folder} belongs to another user: run it as that user (sudo -u {user} ensueno …).")


def private_folder(folder: Path) -> None:
    """Make it and what is missing above it, for its owner alone (`parents=True` would leave those above open)."""
    for part in reversed([folder, *folder.parents]):
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
