"""The picture check: the bundle's safety checker looks at what was drawn, and what it finds is blurred."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from appliance.engines import Engine, Network
from appliance.errors import EngineFault
from appliance.pipeline.families import CLIP_INPUT, SCORE, check_checker
from appliance.pipeline.manifest import SAFETY_CHECKER, Bundle
from appliance.pipeline.manifest import PictureCheck as Preparation

BLUR = 8  # the radius is this part of the longer side: shapes go, colours stay


class PictureCheck:
    """(H, W, 3) uint8 pixels → flagged or not. Made by `PictureCheck.load`; one thread uses it."""

    def __init__(self, network: Network, preparation: Preparation, dtype: str) -> None:
        self._network = network
        self._preparation = preparation
        self._dtype = dtype

    @classmethod
    def load(cls, bundle: Bundle, engine: Engine) -> PictureCheck:
        """The bundle's checker on the engine that draws. Raises `BadBundle` when it has none."""
        preparation = bundle.require_picture_check()
        check_checker(bundle)
        dtype = bundle.manifest.components[SAFETY_CHECKER].input(CLIP_INPUT).dtype
        return cls(engine.load(bundle, SAFETY_CHECKER), preparation, dtype)

    def flags(self, pixels: NDArray[np.uint8]) -> bool:
        """Whether the checker finds what must not be shown. Raises `EngineFault` when its answer is no number."""
        given = prepared(pixels, self._preparation).astype(self._dtype, copy=False)
        score = float(self._network.run({CLIP_INPUT: given})[SCORE][0])
        if not np.isfinite(score):
            raise EngineFault("The picture check gave no number, so the picture is not shown: run `ensueno doctor`.")
        return score > 0.0


def prepared(pixels: NDArray[np.uint8], how: Preparation) -> NDArray[np.float32]:
    """(H, W, 3) uint8 → (1, 3, size, size) float32, as transformers' CLIPImageProcessor makes it."""
    height, width = pixels.shape[:2]
    short, long = min(height, width), max(height, width)
    sides = (how.resize, how.resize * long // short)
    scaled = Image.fromarray(pixels, "RGB").resize(sides if width == short else sides[::-1], Image.Resampling.BICUBIC)
    left, top = (scaled.width - how.size) // 2, (scaled.height - how.size) // 2
    middle = np.asarray(scaled.crop((left, top, left + how.size, top + how.size)), np.float32) / np.float32(255)
    normal = (middle - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    return np.ascontiguousarray(np.moveaxis(normal, -1, 0)[None], np.float32)


def blurred(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same size, with nothing left to recognise."""
    radius = max(pixels.shape[:2]) / BLUR
    return np.asarray(Image.fromarray(pixels, "RGB").filter(ImageFilter.GaussianBlur(radius)))
