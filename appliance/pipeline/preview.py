"""A quick look at a picture on its way: a linear map from latents to colours, no network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.pipeline import manifest
from appliance.pipeline.denoise import DenoiseState
from appliance.pipeline.vae_decoder import to_pixels


def preview(state: DenoiseState, settings: manifest.Preview | None) -> NDArray[np.uint8]:
    """(height, width, 3) uint8, `patch` pixels for each latent.

    Shows the denoised latents, the network's present guess at the finished picture, which sharpens from a blur
    rather than clearing from noise. Latents are those of the denoise loop, scaling factor included.
    """
    shown = state.latents if state.history is None else state.history
    latents = np.nan_to_num(shown, nan=0.0, posinf=0.0, neginf=0.0)
    channels, height, width = latents.shape
    pixels = latents.reshape(channels, -1).T
    if settings is None:
        return to_pixels(_stretched(pixels).reshape(height, width, 3))
    patch = settings.patch
    matrix = np.asarray(settings.matrix, dtype=np.float32)
    colours = pixels @ matrix + np.asarray(settings.bias, dtype=np.float32)
    rows = colours.reshape(height, width, patch, patch, 3).transpose(0, 2, 1, 3, 4)
    return to_pixels(rows.reshape(height * patch, width * patch, 3))


def _stretched(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without a map: up to three channels as colours, each stretched to [-1, 1]. (pixels, channels) → (pixels, 3)."""
    chosen = pixels[:, [index % pixels.shape[1] for index in range(3)]]
    spread = np.abs(chosen - chosen.mean(axis=0)).max(axis=0) + np.float32(1e-6)
    stretched: NDArray[np.float32] = (chosen - chosen.mean(axis=0)) / spread
    return stretched
