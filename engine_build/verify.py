"""`verify`: is this bundle the one that was exported, and does it compute? Needs neither torch nor onnx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from appliance.errors import BadBundle, BadInput
from appliance.pipeline.manifest import Bundle, Component, Manifest, Tensor
from engine_build import parity
from engine_build.tensor_file import read_header

NUMPY = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


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
    for name, component in manifest.components.items():
        _run(name, component, bundle)
        say(f"{name}: loads and runs")
    _check_source(folder)
    return {
        "bundle": str(folder),
        "name": manifest.name,
        "version": manifest.version,
        "files": len(manifest.files),
        "components": sorted(manifest.components),
        "ok": True,
    }


def _run(name: str, component: Component, bundle: Bundle) -> None:
    """Hold the graph's tensors to the manifest, and one run at the default size to finite numbers."""
    session = parity.session(bundle.path(component.file))
    for declared, found in (
        (component.inputs, session.get_inputs()),
        (component.outputs, session.get_outputs()),
    ):
        want = [(tensor.name, tensor.dtype, list(tensor.shape)) for tensor in declared]
        have = [
            (value.name, NUMPY.get(value.type, value.type), list(value.shape)) for value in found
        ]
        if want != have:
            raise BadBundle(
                f"{name}: the graph has {have} where the manifest says {want}: export it again."
            )
    feeds = {
        tensor.name: _sample(tensor, component, bundle.manifest) for tensor in component.inputs
    }
    for tensor, value in zip(component.outputs, session.run(None, feeds), strict=True):
        if not np.isfinite(value).all():
            raise BadBundle(
                f"{name}: {tensor.name} is not finite: export it again with --weights float32."
            )


def _sample(tensor: Tensor, component: Component, manifest: Manifest) -> Any:
    """One row of ones at the default size (an id, a timestep, latents alike)."""
    width, height = manifest.sizes[0]
    sides = iter((height // manifest.latents.scale, width // manifest.latents.scale))
    shape = [
        size if isinstance(size, int) else 1 if size == "batch" else next(sides)
        for size in tensor.shape
    ]
    return np.ones(shape, tensor.dtype)


def _check_source(folder: Path) -> None:
    """Links in `source/` must stay inside the bundle and lead somewhere."""
    root = folder.resolve()
    for path in sorted((folder / "source").rglob("*")):
        if path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(root)):
            where = path.relative_to(folder)
            raise BadBundle(
                f"{folder.name}: {where} leads nowhere or out of the bundle: copy it again with links kept."
            )
