"""A number for a run: how often the picture drawn from a name is nearest to the picture that bears the name.

It rewards pictures that can be told apart by their sentence, which the training loss hardly shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data import Dataset, Pixels
from training.diffusion import Sampler


@dataclass(frozen=True)
class Score:
    """Shares of the drawn names whose own picture is the nearest, or among the five nearest."""

    first: float
    among_five: float
    count: int


def small(pictures: Pixels) -> npt.NDArray[np.float32]:
    """Means over 4 x 4 pixels, flat: ``[N, S/4 · S/4 · 3]``, blind to fine texture."""
    count, size = pictures.shape[:2]
    blocks = pictures.reshape(count, size // 4, 4, size // 4, 4, 3).astype(np.float32)
    means: npt.NDArray[np.float32] = blocks.mean(axis=(2, 4)).reshape(count, -1)
    return means


def ranks(drawn: Pixels, chosen: npt.NDArray[np.int64], pictures: Pixels) -> npt.NDArray[np.int64]:
    """For each drawn picture, how many pictures are nearer to it than the one it was meant to be."""
    ours, all_of_them = small(drawn), small(pictures)
    distances = np.stack([((all_of_them - one) ** 2).sum(axis=1) for one in ours])
    own = distances[np.arange(len(chosen)), chosen]
    nearer: npt.NDArray[np.int64] = (distances < own[:, None]).sum(axis=1)
    return nearer


def score(sampler: Sampler, dataset: Dataset, locale: str, count: int, steps: int, guidance: float) -> Score:
    """Draw ``count`` names, evenly spread over the pictures, and rank them."""
    count = min(count, len(dataset.pictures))
    chosen = np.linspace(0, len(dataset.pictures) - 1, count).astype(np.int64)
    names = [dataset.entries[i].words[locale].name for i in chosen]
    drawn = np.concatenate(
        [sampler.draw(names[i : i + 32], i, steps, guidance) for i in range(0, count, 32)],
    )
    order = ranks(drawn, chosen, dataset.pictures)
    return Score(float((order == 0).mean()), float((order < 5).mean()), count)
