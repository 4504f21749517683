"""Is there memory enough for a build? On a board that shares it with the GPU a builder is killed without a word."""

from __future__ import annotations

from pathlib import Path

from appliance.device import sensors
from appliance.errors import Unavailable
from appliance.pipeline.manifest import Bundle
from appliance.plans import blueprint

_BASE = 0.5
_FOR_WEIGHTS = 3.1
"""Peak GiB = base + this times the weights in the precision they are computed in. Measured with TensorRT for RTX at
SD 1.5's size: UNet f16 1.7 GB → 6.0, f32 3.4 → 11.1, text encoder f32 0.5 → 1.8, VAE decoder f16 0.1 → 0.6."""


def check(bundle: Bundle, component: str, root: Path = Path("/")) -> None:
    """Raises `Unavailable` that says how much is missing and what to do."""
    needed, free = needed_gib(bundle, component), free_gib(root)
    if needed > free:
        raise Unavailable(
            f"Building {component} takes about {needed:.1f} GiB of memory and {free:.1f} GiB are free: stop other "
            f"programs (first the engine: `systemctl stop ensueno-engine`) or add {needed - free + 0.5:.0f} GiB of "
            "swap, then start the build again; it goes on where it stopped."
        )


def needed_gib(bundle: Bundle, component: str) -> float:
    """About the build's peak."""
    part = bundle.manifest.components[component]
    item = 4 if blueprint.precision(part) == "float32" else 2
    files = [part.file] if part.weights is None else [part.file, part.weights]
    stored = sum(bundle.manifest.files[name].bytes for name in files)
    return _BASE + _FOR_WEIGHTS * max(stored, item * part.parameters) / 2**30


def free_gib(root: Path = Path("/")) -> float:
    """What can be had without killing anybody, swap included; endless where the kernel does not say."""
    found = sensors.memory(root)
    return (found.available + found.swap_free) / 2**30 if found.available else float("inf")
