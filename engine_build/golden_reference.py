"""What ONNX Runtime draws of a new bundle's golden pictures goes with it: no device needs to run the float32 set."""

from __future__ import annotations

from pathlib import Path

from appliance.ladder import golden
from appliance.pipeline.manifest import Bundle, FileEntry, Manifest, sha256
from appliance.pipeline.text_to_image import TextToImage


def added(folder: Path, manifest: Manifest) -> Manifest:
    """Draw them, write them into the bundle's folder; → the manifest with that file among the others."""
    pipeline = TextToImage.load(Bundle(folder, manifest))
    path = folder / golden.REFERENCE
    path.write_bytes(golden.packed(golden.draw(pipeline)))
    pipeline.close()
    entry = FileEntry(sha256=sha256(path), bytes=path.stat().st_size)
    return manifest.model_copy(update={"files": {**manifest.files, golden.REFERENCE: entry}})
