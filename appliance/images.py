"""The image store: one PNG for each picture, named by the id the journal allotted, on the disk before its job ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance import durable, failpoints
from appliance.errors import NoRoom, NotFound
from appliance.ids import ULID


class ImageStore:
    """Pictures under `folder`, spread over sub-folders by the last two characters of the id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        durable.sync_folder(folder.parent)

    def save(self, image_id: str, png: bytes) -> Path:
        """File, fsync, rename, fsync of the folder: when this returns the picture survives a power cut.

        Saving the same id again replaces the file. Raises `NoRoom`.
        """
        path = self._path(image_id)
        with storing():
            path.parent.mkdir(exist_ok=True)
            durable.replace(path, png)
            durable.sync_folder(self._folder)
            failpoints.reached("image.stored")
        return path

    def path(self, image_id: str) -> Path:
        """Where the picture lies. Raises `NotFound`; no string from outside becomes part of a path unchecked."""
        if not ULID.fullmatch(image_id) or not (path := self._path(image_id)).is_file():
            raise NotFound("There is no such picture.")
        return path

    def remove(self, image_id: str) -> None:
        """Take a picture away, if it is there, and what a crash left of it."""
        path = self._path(image_id)
        for file in (path, path.with_name(f"{path.name}{durable.PARTIAL}")):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def sizes(self) -> dict[str, int]:
        """The bytes of every file, by the id in its name."""
        found: dict[str, int] = {}
        with contextlib.suppress(OSError):
            for folder in os.scandir(self._folder):
                for file in os.scandir(folder) if folder.is_dir() else ():
                    name = file.name.split(".")[0]
                    if ULID.fullmatch(name):
                        with contextlib.suppress(OSError):
                            found[name] = found.get(name, 0) + file.stat().st_size
        return found

    def names(self) -> set[str]:
        """The ids that files are named by, half-written ones too."""
        return set(self.sizes())

    def _path(self, image_id: str) -> Path:
        return self._folder / image_id[-2:] / f"{image_id}.png"


@contextmanager
def storing() -> Iterator[None]:
    """What a disk refuses, in one sentence: `NoRoom`."""
    try:
        yield
    except OSError as error:
        remedy = "make room on" if error.errno in durable.FULL else "check"
        raise NoRoom(f"The picture could not be stored ({error.strerror}): {remedy} the disk.") from None
