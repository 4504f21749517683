"""Figures: ranks, shares with their intervals, and distances between pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.corpus.library import Pixels

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_RESAMPLED = 1000


@dataclass(frozen=True)
class Share:
    """A share of ``n`` with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def share(right: Iterable[bool]) -> Share:
    """The share that is true; the interval by the bootstrap's percentiles (Efron 1979). Nothing gives 0 of 0."""
    values = np.array(list(right), np.float64)
    if not len(values):
        return Share(0.0, 0.0, 0.0, 0)
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (_RESAMPLED, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Share(float(values.mean()), float(low), float(high), len(values))


def rank(picture: Floats, answers: Floats, right: int) -> int:
    """How many answers (unit vectors ``[n, width]``) are at least as near to the picture as the right one is."""
    scores = answers @ picture
    return int((scores >= scores[right]).sum()) - 1


def blocks(pictures: Pixels) -> Floats:
    """Means over 4 x 4 pixels, flat: float32 ``[N, S/4 · S/4 · 3]`` of 0 to 255, blind to fine texture."""
    count, size = pictures.shape[:2]
    cut = pictures.reshape(count, size // 4, 4, size // 4, 4, 3)
    means: Floats = cut.mean(axis=(2, 4), dtype=np.float32).reshape(count, -1)
    return means


def distances(ours: Floats, theirs: Floats) -> Floats:
    """Root mean square differences ``[n, m]`` between rows of two arrays."""
    squared = (ours**2).sum(1)[:, None] + (theirs**2).sum(1)[None] - 2 * ours @ theirs.T
    found: Floats = np.sqrt(np.maximum(squared, 0) / ours.shape[1])
    return found


def spread(pictures: Floats) -> float:
    """Mean root mean square difference between two of the rows."""
    apart = distances(pictures, pictures)
    return float(apart[np.triu_indices(len(pictures), 1)].mean())


def angle_spread(vectors: Floats) -> float:
    """Mean of one less the cosine between two of the unit vectors."""
    return float(1 - (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)].mean())


def nearest(pictures: Pixels, others: Pixels, piece: int = 1024) -> tuple[Ints, Floats]:
    """For each picture the row of the nearest other, and the distance to it, over 4 x 4 means."""
    ours = blocks(pictures)
    best = np.full(len(ours), np.inf, np.float32)
    where = np.zeros(len(ours), np.int64)
    for first in range(0, len(others), piece):
        found = distances(ours, blocks(np.asarray(others[first : first + piece])))
        row = found.argmin(axis=1)
        value = found[np.arange(len(ours)), row]
        where = np.where(value < best, first + row, where)
        best = np.minimum(value, best)
    return where, best


def median(values: Sequence[float] | Floats) -> float:
    """The middle one."""
    return float(np.median(np.asarray(values)))
