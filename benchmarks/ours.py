"""Ensueño's own pipeline, as the engine process uses it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.config import EngineName, Settings
from appliance.ladder.ladder import RUNGS
from appliance.pipeline.denoise import Feeds
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.request import GenerationRequest
from benchmarks.player import Array, Wish


class Ensueno:
    """The rows of the table called Ensueño."""

    def __init__(self, pipeline: TextToImage) -> None:
        self._pipeline = pipeline

    def unet(self, sample: Array, timestep: Array, embeds: Array) -> Array:
        """One call, the rows of one picture."""
        return self._pipeline.predict([Feeds(sample, timestep, embeds)])[0]

    def picture(self, wish: Wish) -> tuple[Array, NDArray[np.uint8]]:
        """The seed gives the very noise of the wish; both texts are computed, as by the others."""
        self._pipeline._text_encoder.encode.cache_clear()
        fields = {"prompt": wish.prompt, "seed": int(wish.prompt.rpartition(" ")[2])}
        request = GenerationRequest.of(fields, self._pipeline.bundle.manifest.offer())
        *_, state = self._pipeline.denoise(request)
        return state.latents, self._pipeline.decode(state.latents)


def load(bundle: Bundle, threads: int, engine: EngineName = "onnxruntime") -> Ensueno:
    """The bundle on one engine of ours."""
    rung = next(rung for rung in RUNGS if rung.name == engine)
    return Ensueno(TextToImage.load(bundle, rung.make(Settings(threads=threads))))
