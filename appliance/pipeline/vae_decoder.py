"""Latents to pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.engines import Network
from appliance.errors import EngineFault
from appliance.pipeline.manifest import Component, Latents
from appliance.pipeline.tiles import Array, decode_tiled

NAME = "vae_decoder"
LATENTS = "latents"
IMAGE = "image"


class VaeDecoder:
    """(channels, h, w) float32 latents → (H, W, 3) uint8 pixels; in tiles of at most `side` latents on a side."""

    def __init__(self, network: Network, component: Component, latents: Latents, side: int) -> None:
        self._network = network
        self._dtype = component.input(LATENTS).dtype
        self._latents = latents
        self._side = side

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Raises `EngineFault` when the network's answer is not finite."""
        unscaled = latents[None] / self._latents.scaling_factor + self._latents.shift_factor
        image = decode_tiled(self._run, unscaled, self._side, self._latents.scale)[0]
        if not np.isfinite(image).all():
            raise EngineFault(
                "The picture came out as no numbers: ask again with other words, fewer steps or less guidance; "
                "if all pictures do, run `ensueno doctor`."
            )
        return to_pixels(np.moveaxis(image, 0, -1))

    def _run(self, latents: Array) -> Array:
        image: Array = self._network.run({LATENTS: latents.astype(self._dtype, copy=False)})[IMAGE]
        return image


def to_pixels(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """[-1, 1] → 0 ... 255, same shape, C-contiguous; beyond the range is clipped."""
    scaled = np.multiply(image, 127.5, dtype=np.float32)
    scaled += 127.5
    np.clip(np.rint(scaled, out=scaled), 0.0, 255.0, out=scaled)
    return np.ascontiguousarray(scaled.astype(np.uint8))
