"""Pixels to latents."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from appliance.engines import Network
from appliance.errors import EngineFault
from appliance.picture import Picture
from appliance.pipeline.inpaint import pixels
from appliance.pipeline.manifest import VAE_ENCODER, Component, Latents

NAME = VAE_ENCODER
IMAGE = "image"
LATENTS = "latents"
REMEMBERED = 4  # pictures: a job of several starts all of them from one


class VaeEncoder:
    """(H, W, 3) uint8 pixels of a picture → (channels, h, w) float32 latents as the UNet knows them, read-only.

    A picture goes through the network alone, so its latents do not depend on what else is asked for. An encoder that
    gives a distribution is exported with its mode: the same picture always starts from the same latents.
    """

    def __init__(self, network: Network, component: Component, latents: Latents) -> None:
        self._network = network
        self._dtype = component.input(IMAGE).dtype
        self._latents = latents
        self.encode = lru_cache(maxsize=REMEMBERED)(self._encode)

    def _encode(self, picture: Picture) -> NDArray[np.float32]:
        image = pixels(picture).astype(np.float32) / np.float32(127.5) - np.float32(1.0)
        planes = np.ascontiguousarray(np.moveaxis(image, -1, 0)[None], dtype=self._dtype)
        raw = self._network.run({IMAGE: planes})[LATENTS][0].astype(np.float32)
        if not np.isfinite(raw).all():
            raise EngineFault("The picture to start from came out as no numbers: try another one.")
        latents: NDArray[np.float32] = (raw - np.float32(self._latents.shift_factor)) * np.float32(
            self._latents.scaling_factor
        )
        latents.flags.writeable = False
        return latents
