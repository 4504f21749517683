"""The image store: one PNG for each picture, named by the id the journal allotted, on the disk before its job ends."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from appliance.errors import NoRoom, NotFound
from appliance.ids import ULID


class ImageStore:
    """Pictures under `folder`, spread over sub-folders by the last two characters of the id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)

    def save(self, image_id: str, png: bytes) -> Path:
        """File, fsync, rename, fsync of the folder: when this returns the picture survives a power cut.

        Saving the same id again replaces the file. Raises `NoRoom`.
        """
        path = self._path(image_id)
        draft = path.with_suffix(".draft")
        try:
            path.parent.mkdir(exist_ok=True)
            with draft.open("wb") as file:
                file.write(png)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
            sync_folder(path.parent)
            sync_folder(self._folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            remedy = "make room on" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check"
            raise NoRoom(f"The picture could not be stored ({error.strerror}): {remedy} the disk.") from None
        return path

    def path(self, image_id: str) -> Path:
        """Where the picture lies. Raises `NotFound`; no string from outside becomes part of a path unchecked."""
        if not ULID.fullmatch(image_id) or not (path := self._path(image_id)).is_file():
            raise NotFound("There is no such picture.")
        return path

    def remove(self, image_id: str) -> None:
        """Take a picture away, if it is there."""
        with contextlib.suppress(OSError):
            self._path(image_id).unlink(missing_ok=True)

    def _path(self, image_id: str) -> Path:
        return self._folder / image_id[-2:] / f"{image_id}.png"


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
