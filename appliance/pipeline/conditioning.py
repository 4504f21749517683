"""What steers the UNet beside latents and time, by the family: words, their pooled embedding, sizes, the guidance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.pipeline.families import TEXT_EMBEDS, TIME_IDS, TIMESTEP_COND
from appliance.pipeline.manifest import Component
from appliance.pipeline.text_encoder import Encoded

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Conditioning:
    """`prompt_embeds` (rows, length, width); `added` by the name of the UNet's input, each (rows, ...); all float32.

    One row, or two with guidance, the negative prompt first.
    """

    prompt_embeds: Array
    added: Mapping[str, Array]


def condition(rows: Sequence[Encoded], size: tuple[int, int], guidance_scale: float, unet: Component) -> Conditioning:
    """Put together what `unet` takes for a picture of `size` (width, height) in pixels."""
    inputs = {tensor.name: tensor for tensor in unet.inputs}
    added: dict[str, Array] = {}
    if TEXT_EMBEDS in inputs:
        added[TEXT_EMBEDS] = np.concatenate([row.text_embeds for row in rows if row.text_embeds is not None])
    if TIME_IDS in inputs:
        added[TIME_IDS] = time_ids(*size).repeat(len(rows), axis=0)
    if TIMESTEP_COND in inputs:
        width = inputs[TIMESTEP_COND].shape[1]
        added[TIMESTEP_COND] = guidance_embedding(guidance_scale, int(width)).repeat(len(rows), axis=0)
    return Conditioning(np.concatenate([row.prompt_embeds for row in rows]), added)


def time_ids(width: int, height: int) -> Array:
    """(1, 6): the size it was, the crop's corner, the size it shall be, each height first.

    Podell et al. 2023, arXiv:2307.01952, section 2.2; a whole picture of the asked size.
    """
    return np.array([[height, width, 0, 0, height, width]], np.float32)


def guidance_embedding(guidance_scale: float, width: int) -> Array:
    """(1, width): sines and cosines of 1000 w, with w = guidance_scale - 1 (Luo et al. 2023, arXiv:2310.04378,

    section 4.2, whose w is one less than that of Ho & Salimans).
    """
    half = width // 2
    frequencies = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(10000.0) / (half - 1)))
    angles = np.float32(1000.0 * (guidance_scale - 1.0)) * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles), np.zeros(width % 2, np.float32)])
    return waves[None].astype(np.float32)
