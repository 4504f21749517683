"""A folder while it is written: beside its place, moved there in one step, a bundle's manifest last."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from appliance.errors import BadInput
from appliance.pipeline.manifest import MANIFEST, MANIFEST_HASH, Manifest, sha256


def check_place(out: Path) -> None:
    """Raises `BadInput` where a bundle cannot be written."""
    if out.exists() and not (out / MANIFEST).is_file():
        raise BadInput(f"{out} exists and is no bundle (no {MANIFEST}): name another --out or remove it.")
    if not out.parent.is_dir():
        raise BadInput(f"There is no folder {out.parent} to put the bundle in: make it first.")


@contextlib.contextmanager
def built_beside(out: Path) -> Iterator[Path]:
    """A new folder next to `out` that takes its place only if the block succeeds."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".new", dir=out.parent))
    except OSError as error:
        raise BadInput(f"{out.parent} cannot be written ({error.strerror}): name another --out.") from None
    try:
        folder.chmod(0o755)
        yield folder
        if out.exists():
            old = folder.with_suffix(".old")
            os.rename(out, old)
            os.rename(folder, out)
            shutil.rmtree(old)
        else:
            os.rename(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Indented json, but each list of numbers on one line; its own hash beside it, as `sha256sum --check` reads it."""
    text = manifest.model_dump_json(indent=2)
    text = re.sub(r"\[[-\d.e,\s]+\]", _on_one_line, text)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    (folder / MANIFEST_HASH).write_text(f"{sha256(folder / MANIFEST)}  {MANIFEST}\n", encoding="ascii")


def _on_one_line(numbers: re.Match[str]) -> str:
    return "[" + ", ".join(numbers[0][1:-1].split()).replace(",,", ",") + "]"
