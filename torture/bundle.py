"""A hollow bundle: a real one's manifest and words, with empty files in place of its networks.

The fault-injecting engine reads no weights, so each of its starts checks a few kilobytes instead of all the model's.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from appliance.pipeline.manifest import MANIFEST, Bundle, sha256

_STEPS = [1, 1000]


def hollow(folder: Path, original: Path) -> Path:
    """Make it at `folder`, unless it is there; pictures are small and steps many. Raises `BadBundle`."""
    if (folder / MANIFEST).is_file():
        return folder
    bundle = Bundle.open(original)
    manifest = bundle.manifest
    words = manifest.tokenizer.file
    for name in manifest.files:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name == words:
            shutil.copyfile(bundle.path(name), file)
        else:
            file.write_bytes(b"")
    side = 8 * manifest.latents.scale
    changes: dict[str, Any] = {
        "name": "hollow",
        "sizes": [[side, side]],
        "limits": manifest.limits.model_copy(update={"steps": _STEPS}),
        "files": {
            name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in manifest.files
        },
    }
    text = manifest.model_copy(update=changes).model_dump_json(indent=1, warnings=False)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return folder
