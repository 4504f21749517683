"""What is kept of a picture to start from: plain files as arrays, the mask in latents, and the pixels outside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.picture import Picture, pixels_of
from appliance.request import GenerationRequest


def pixels(picture: Picture) -> NDArray[np.uint8]:
    """(height, width, 3) uint8."""
    width, height, data = pixels_of(picture.file)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def drawn_anew(mask: Picture) -> NDArray[np.bool_]:
    """(height, width): where the mask is white."""
    width, height, data = pixels_of(mask.file)
    anew: NDArray[np.bool_] = np.frombuffer(data, np.uint8).reshape(height, width) > 127
    return anew


def latent_mask(mask: Picture, scale: int) -> NDArray[np.bool_]:
    """(1, height / scale, width / scale): a latent is drawn anew when any of its pixels is, so thin strokes count."""
    anew = drawn_anew(mask)
    height, width = anew.shape
    blocks = anew.reshape(height // scale, scale, width // scale, scale)
    found: NDArray[np.bool_] = np.logical_or.reduce(blocks, axis=(1, 3))
    return found[None]


def keep_outside(drawn: NDArray[np.uint8], request: GenerationRequest) -> NDArray[np.uint8]:
    """The drawn pixels (height, width, 3), and outside the request's mask the original's, untouched."""
    if request.image is None or request.mask is None:
        return drawn
    kept: NDArray[np.uint8] = np.where(drawn_anew(request.mask)[..., None], drawn, pixels(request.image))
    return kept
