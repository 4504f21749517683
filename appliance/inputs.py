"""The pictures that accepted jobs start from: plain files named by their sha256, on the disk before their job's commit.

Only the journal works here, and it changes the folder under its write lock alone. So no file can go while a job that
needs it is being accepted, and what a crash leaves (half a file, a file whose job was never committed) is swept later.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from appliance import durable
from appliance.errors import BadInput
from appliance.images import storing
from appliance.picture import NAME, Picture


class InputStore:
    """Files under `folder`, made at the first save."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, picture: Picture) -> None:
        """On return it survives a power cut, and is whole. Raises `NoRoom`."""
        path = self._folder / picture.sha256
        with storing():
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True, exist_ok=True)
                durable.sync_folder(self._folder.parent)
            if path.is_file() and path.read_bytes() == picture.file:
                durable.sync_folder(self._folder)  # whoever wrote it may have died before this
            else:
                durable.replace(path, picture.file)

    def read(self, name: str) -> bytes:
        """The plain file of that name. Raises `BadInput` when it is not there or not what was kept."""
        if not NAME.fullmatch(name):
            raise BadInput("The request names no picture.")
        try:
            file = (self._folder / name).read_bytes()
        except OSError:
            raise BadInput("The picture to start from is no longer here: send the request again.") from None
        if hashlib.sha256(file).hexdigest() != name:
            raise BadInput("The picture to start from was damaged on the disk: send the request again.")
        return file

    def names(self) -> set[str]:
        """Everything in the folder, drafts that a crash left too."""
        try:
            return {path.name for path in self._folder.iterdir()}
        except OSError:
            return set()

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""
        with contextlib.suppress(OSError):
            (self._folder / name).unlink(missing_ok=True)
