"""Installed bundles, which of them is drawn with, and the way back.

`<data-dir>/models/` holds one folder for each bundle and `slots.json`, which is replaced in one step: after a power cut
the old bundle is active or the new one, never half of each. A bundle that is activated is on trial until an engine has
drawn its golden pictures; an engine that dies before that, or a bundle that fails, brings the one before back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from appliance import durable
from appliance.errors import BadBundle, BadInput
from appliance.pipeline.manifest import MANIFEST

POINTER = "slots.json"
BUNDLED = "bundled"  # the name of the bundle that comes with Ensueño, where a slot is asked for


class Pointer(BaseModel):
    """What `slots.json` says. A slot's name, or None for the bundle that comes with Ensueño.

    `tried` is the boot in which an engine began with a bundle on trial; it is taken back when that engine is stopped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    active: str | None = None
    previous: str | None = None
    trial: bool = False
    tried: str | None = None


@dataclass(frozen=True)
class Slots:
    """The slots of a data dir."""

    data_dir: Path

    @property
    def folder(self) -> Path:
        return self.data_dir / "models"

    @property
    def pointer_path(self) -> Path:
        return self.folder / POINTER

    def pointer(self) -> Pointer:
        """Raises `BadBundle` when the file is damaged."""
        try:
            return Pointer.model_validate_json(self.pointer_path.read_bytes())
        except FileNotFoundError:
            return Pointer()
        except (OSError, ValidationError):
            raise BadBundle(
                f"{self.pointer_path} cannot be used: delete it, then `ensueno model activate` the bundle again."
            ) from None

    def names(self) -> list[str]:
        """The installed bundles."""
        return sorted(path.parent.name for path in self.folder.glob(f"[!.]*/{MANIFEST}"))

    def active(self) -> Path | None:
        """The active slot's folder; None: the bundle that comes with Ensueño. Raises `BadBundle`."""
        name = self.pointer().active
        if name is None:
            return None
        if name not in self.names():
            raise BadBundle(f"The active bundle {name} is gone: `ensueno model rollback`, or install it again.")
        return self.folder / name

    def activate(self, name: str) -> None:
        """Put a slot on trial; the one proven last is the way back, and needs no trial itself.

        Raises `BadInput`, `BadBundle`, `NoRoom`.
        """
        wanted = None if name == BUNDLED else name
        if wanted is not None and wanted not in self.names():
            there = ", ".join([BUNDLED, *self.names()])
            raise BadInput(f"No bundle {name} is installed: choose one of {there}, or `ensueno model install` it.")
        now = self.pointer()
        if wanted == now.active:
            return
        proven = now.previous if now.trial else now.active
        self._point(Pointer(active=wanted, previous=proven, trial=wanted not in (None, proven)))

    def rollback(self) -> str:
        """Back to the bundle before, which is on no trial; → its name. Raises `BadInput` when there is none.

        A trial always has a way back: the bundle that comes with Ensueño, where the one before is gone.
        """
        now = self.pointer()
        before = now.previous if now.previous in self.names() else None
        if now.active == before:
            if not now.trial:
                raise BadInput("There is no bundle to go back to: see `ensueno model list`.")
            before = None
        self._point(Pointer(active=before, previous=before if now.trial else now.active))
        return before or BUNDLED

    def try_once(self, boot: str) -> bool:
        """An engine begins with the bundle on trial. False when one began in this boot and never ended well."""
        now = self.pointer()
        if now.tried == boot:
            return False
        self._point(now.model_copy(update={"tried": boot}))
        return True

    def untry(self) -> None:
        """That engine was stopped, or could not begin for a reason of its own."""
        self._point(self.pointer().model_copy(update={"tried": None}))

    def accept(self) -> None:
        """The trial is passed."""
        self._point(self.pointer().model_copy(update={"trial": False, "tried": None}))

    def watch(self) -> SlotWatch:
        """From now on it is noticed when another bundle becomes the active one."""
        return SlotWatch(self)

    def _point(self, pointer: Pointer) -> None:
        durable.private_folder(self.folder)
        durable.write(self.pointer_path, pointer.model_dump_json(indent=2).encode() + b"\n")


class SlotWatch:
    """How a process that drew or spoke for one bundle learns that another is active: it then ends in good order, and
    whoever keeps it (systemd, `ensueno serve`) starts it with the new one."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._seen = self._stamp()
        self._active = self._slots.pointer().active

    def moved(self) -> bool:
        """Whether another bundle is active by now. Costs one look at a file's entry while nothing changes."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            return self._slots.pointer().active != self._active
        except BadBundle:  # a damaged pointer moves nobody
            return False

    def _stamp(self) -> tuple[int, int] | None:
        """It is replaced as a whole, never written over."""
        try:
            found = self._slots.pointer_path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns
