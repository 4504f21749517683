"""The exported graph held to torch, in ONNX Runtime, at several shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.errors import BadBundle
from engine_build.components import Network

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Parity:
    """Relative L2 errors, the worst over the shapes: against the stored weights and the original ones."""

    error: float
    error_from_original: float
    shapes: list[list[int]]


def session(path: Path) -> Any:
    """An ONNX Runtime session on the CPU. Raises `BadBundle` if the graph or its weights do not load."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no public base class
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise BadBundle(
            f"{path.name} does not load in ONNX Runtime ({first}): export it again."
        ) from None


def run(network: Network, path: Path) -> list[Array]:
    """The network's output at each of its parity shapes."""
    runner = session(path)
    return [
        np.asarray(runner.run([network.output.name], network.feeds(latents))[0])
        for latents in network.latents
    ]


def check(
    network: Network, path: Path, stored: Sequence[Array], original: Sequence[Array]
) -> Parity:
    """Compare with torch's outputs for the stored (rounded) and the original weights.

    Raises `BadBundle` when the error against the stored weights is over the network's tolerance.
    """
    have = run(network, path)
    parity = Parity(
        error=max(relative_error(*pair) for pair in zip(have, stored, strict=True)),
        error_from_original=max(relative_error(*pair) for pair in zip(have, original, strict=True)),
        shapes=[list(output.shape) for output in have],
    )
    if not parity.error <= network.tolerance:
        raise BadBundle(
            f"{path.name} does not compute what torch computes (relative error {parity.error:.1e}, at most "
            f"{network.tolerance:.0e}): export it again, and report this if it stays."
        )
    return parity


def relative_error(have: Array, want: Array) -> float:
    """L2 norm of the difference over that of `want`, in float64; infinite when it is not a number."""
    if have.shape != want.shape:
        return float("inf")
    want = want.astype(np.float64)
    error = float(np.linalg.norm((have - want).ravel()) / max(np.linalg.norm(want.ravel()), 1e-30))
    return error if np.isfinite(error) else float("inf")
