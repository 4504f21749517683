"""Bytes laid by on the disk, given up when it is full: deleting a picture writes too, and would be refused."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from appliance.durable import sync_folder
from appliance.errors import NoRoom

NAME = "ballast"
T = TypeVar("T")


class Ballast:
    """A file of `size` bytes in `folder`, laid only where `spare` bytes are free besides; a size of 0 is none."""

    def __init__(self, folder: Path, size: int = 8 << 20, spare: int = 0) -> None:
        self._path = folder / NAME
        self._size = size
        self._spare = spare

    def lay(self) -> bool:
        """Lay it by unless it lies there; whether it does."""
        if self._size == 0 or self._path.exists():
            return self._size > 0
        draft = self._path.with_suffix(".partial")
        try:
            if shutil.disk_usage(self._path.parent).free < self._size + self._spare:
                return False
            with draft.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
                os.fsync(file.fileno())
            draft.rename(self._path)
            sync_folder(self._path.parent)
        except OSError:  # somebody else took the room
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            return False
        return True

    def give_up(self) -> bool:
        """Take it away; whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def making_room(self, deed: Callable[[], T]) -> T:
        """Do it; on a full disk give the ballast up and do it again. Raises `NoRoom` when there is none to give."""
        try:
            return deed()
        except NoRoom:
            if not self.give_up():
                raise
        return deed()
