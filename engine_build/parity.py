"""A loaded network held to torch at several shapes; the engine may be any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance import engines
from appliance.errors import BadBundle
from engine_build.components import Network

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """What torch says at each of the network's parity shapes: with the weights as stored, and as they were."""

    stored: list[Array]
    original: list[Array]


@dataclass(frozen=True, slots=True)
class Parity:
    """Relative L2 errors, the worst over the shapes, against either reference."""

    error: float
    error_from_original: float
    shapes: list[list[int]]


def check(network: Network, loaded: engines.Network, reference: Reference) -> Parity:
    """Compare at every shape. Raises `BadBundle` when the error against the stored weights is over the tolerance."""
    have = [loaded.run(network.feeds(latents))[network.output.name] for latents in network.latents]
    parity = Parity(
        error=worst(have, reference.stored),
        error_from_original=worst(have, reference.original),
        shapes=[list(output.shape) for output in have],
    )
    if not parity.error <= network.tolerance:
        raise BadBundle(
            f"{network.file} does not compute what torch computes (relative error {parity.error:.1e}, at most "
            f"{network.tolerance:.0e}): export it again, and report this if it stays."
        )
    return parity


def worst(have: Sequence[Array], want: Sequence[Array]) -> float:
    """The largest relative error of the pairs."""
    return max(relative_error(*pair) for pair in zip(have, want, strict=True))


def relative_error(have: Array, want: Array) -> float:
    """L2 norm of the difference over that of `want`, in float64; infinite when it is not a number."""
    if have.shape != want.shape:
        return float("inf")
    want = want.astype(np.float64)
    error = float(np.linalg.norm((have - want).ravel()) / max(np.linalg.norm(want.ravel()), 1e-30))
    return error if np.isfinite(error) else float("inf")
