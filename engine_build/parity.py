"""A loaded network held to torch at several shapes; the engine may be any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance import engines
from appliance.errors import BadBundle
from engine_build.components import Network

Array = NDArray[Any]
FLOAT16_TOLERANCE = 2e-2  # full-size networks were measured at under 1e-3; tiny ones with random weights come to more
FLOAT16_LARGEST = float(np.finfo(np.float16).max)
Answers = list[dict[str, Array]]  # for each shape, the outputs by name


@dataclass(frozen=True, slots=True)
class Reference:
    """What torch says at each of the network's parity shapes: with the weights as stored, and as they were."""

    stored: Answers
    original: Answers


@dataclass(frozen=True, slots=True)
class Parity:
    """Relative L2 errors, the worst over the shapes, against either reference."""

    error: float
    error_from_original: float
    shapes: list[list[int]]


def check(network: Network, loaded: engines.Network, reference: Reference) -> Parity:
    """Compare at every shape. Raises `BadBundle` when the error against the stored weights is over the tolerance."""
    have = [loaded.run(network.feeds(latents)) for latents in network.latents]
    parity = Parity(
        error=worst(have, reference.stored),
        error_from_original=worst(have, reference.original),
        shapes=[list(answer[network.outputs[0].name].shape) for answer in have],
    )
    if not parity.error <= network.tolerance:
        raise BadBundle(
            f"{network.file} does not compute what torch computes (relative error {parity.error:.1e}, at most "
            f"{network.tolerance:.0e}): export it again, and report this if it stays."
        )
    return parity


def check_float16(network: Network, loaded: engines.Network, reference: Reference) -> float:
    """The same for the graph that computes in float16; → its error against the stored weights. Raises `BadBundle`."""
    error = worst([loaded.run(network.feeds(latents)) for latents in network.latents], reference.stored)
    if not error <= FLOAT16_TOLERANCE:
        raise BadBundle(
            f"{network.f16_file} is too far from float32 (relative error {error:.1e}, at most "
            f"{FLOAT16_TOLERANCE:.0e}): export with --precision f32."
        )
    return error


def worst(have: Answers, want: Answers) -> float:
    """The largest relative error over shapes and outputs."""
    return max(
        relative_error(mine[name], theirs[name]) for mine, theirs in zip(have, want, strict=True) for name in theirs
    )


def relative_error(have: Array, want: Array) -> float:
    """L2 norm of the difference over that of `want`, in float64; infinite when it is not a number."""
    if have.shape != want.shape:
        return float("inf")
    want = want.astype(np.float64)
    error = float(np.linalg.norm((have - want).ravel()) / max(np.linalg.norm(want.ravel()), 1e-30))
    return error if np.isfinite(error) else float("inf")
