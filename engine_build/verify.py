"""`verify`: is this bundle the one that was exported, and does it compute? Needs neither torch nor onnx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import BadBundle, BadInput
from appliance.pipeline.manifest import Bundle, Manifest, Tensor
from appliance.pipeline.vae_decoder import IMAGE
from engine_build.tensor_file import read_header


def verify(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Check every hash and header, then load and run each network. Raises `BadBundle` at the first fault."""
    bundle = Bundle.open(folder)
    manifest = bundle.manifest
    bundle.verify()
    say(f"{len(manifest.files)} files are as exported")
    for name in manifest.files:
        if name.endswith(".safetensors"):
            try:
                read_header(folder / name)
            except BadInput as error:
                raise BadBundle(str(error)) from None
    for name in manifest.components:
        _run(name, bundle)
        say(f"{name}: loads and runs")
    return {
        "bundle": str(folder),
        "name": manifest.name,
        "version": manifest.version,
        "files": len(manifest.files),
        "components": sorted(manifest.components),
        "ok": True,
    }


def _run(name: str, bundle: Bundle) -> None:
    """Load the network, which holds its tensors to the manifest, and one run to finite numbers."""
    component = bundle.manifest.components[name]
    loaded = OnnxRuntime().load(bundle, name)
    outputs = loaded.run({tensor.name: _sample(tensor, bundle.manifest) for tensor in component.inputs})
    loaded.close()
    for tensor, value in outputs.items():
        if not np.isfinite(value).all():
            raise BadBundle(f"{name}: {tensor} is not finite: export it again with --weights float32.")


def _sample(tensor: Tensor, manifest: Manifest) -> Any:
    """One row of ones at the default size (an id, a timestep, latents, a picture alike)."""
    width, height = manifest.sizes[0]
    scale = 1 if tensor.name == IMAGE else manifest.latents.scale
    sides = iter((height // scale, width // scale))
    shape = [size if isinstance(size, int) else 1 if size == "batch" else next(sides) for size in tensor.shape]
    return np.ones(shape, tensor.dtype)
