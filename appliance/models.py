"""`ensueno model list` and `activate`: what can be drawn with, and the change to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.bundles.slots import BUNDLED, Slots
from appliance.config import MODELS
from appliance.errors import EngineFault, Unavailable
from appliance.lock import only_one
from appliance.pipeline.manifest import MANIFEST, Bundle


def listed(data_dir: Path) -> list[dict[str, Any]]:
    """The bundles that come along, then the installed ones."""
    slots = Slots(data_dir)
    pointer = slots.pointer()
    along = [path.parent for path in sorted(MODELS.glob(f"*/{MANIFEST}"))]
    rows = [_row(folder, BUNDLED, pointer.active is None) for folder in along]
    installed = [_row(slots.folder / name, name, name == pointer.active) for name in slots.names()]
    return rows + [row | {"trial": row["active"] and pointer.trial} for row in installed]


def as_line(row: dict[str, Any]) -> str:
    """One bundle as `ensueno model list` prints it: first the name that `activate` takes."""
    mark = "▶" if row["active"] else " "
    note = "  (on trial)" if row["trial"] else ""
    return f"{mark} {row['slot']}  {row['name']} {row['version']}  {row['folder']}{note}"


def activate(name: str, data_dir: Path, threads: int | None) -> str:
    """Put an installed bundle on trial, and where no engine runs prove it here; → what was done.

    A running `ensueno serve` starts its engine with it and goes back by itself if it does not hold. Raises `BadInput`,
    `BadBundle`, and `EngineFault` when its golden pictures do not hold, and then nothing has changed.
    """
    slots = Slots(data_dir)
    if name in slots.names():
        Bundle.open(slots.folder / name).verify()
    try:
        with only_one(data_dir / "engine.lock", "The engine"):
            if name in slots.names():
                _prove(slots.folder / name, threads)
    except Unavailable:
        pass  # the running engine is started again with it, and proves it
    slots.activate(name)
    if not slots.pointer().trial:
        return f"{name} is active."
    return f"{name} is active, on trial: an engine that cannot draw its golden pictures goes back to the one before."


def _prove(folder: Path, threads: int | None) -> None:
    from appliance.ladder import trial
    from appliance.pipeline.text_to_image import TextToImage

    pipeline = TextToImage.load(Bundle.open(folder), threads=threads)
    try:
        trial.judge(pipeline, "float32")
    except EngineFault as error:
        raise EngineFault(f"{folder.name} is not activated: {error}") from None
    finally:
        pipeline.close()


def _row(folder: Path, slot: str, active: bool) -> dict[str, Any]:
    manifest = Bundle.open(folder).manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "licence": manifest.licence,
        "sizes": manifest.sizes,
        "folder": str(folder),
        "slot": slot,
        "active": active,
        "trial": False,
    }
