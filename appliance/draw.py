"""The pictures of one request, drawn together in one process: no queue, no journal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from appliance.pipeline.denoise import advance, feeds
from appliance.pipeline.inpaint import keep_outside
from appliance.pipeline.text_to_image import TextToImage
from appliance.request import GenerationRequest


def draw_together(
    pipeline: TextToImage,
    request: GenerationRequest,
    told: Callable[[int, int], None] = lambda step, steps: None,
) -> list[NDArray[np.uint8]]:
    """(height, width, 3) uint8 pixels of each picture, as many side by side as the bundle's batch limit allows.

    `told(step, steps)` hears of every step of every group. The request's seed must be set.
    """
    states = [pipeline.start(request, index) for index in range(request.count)]
    abreast = max(1, pipeline.bundle.manifest.limits.batch // states[0].rows)
    groups = [states[first : first + abreast] for first in range(0, len(states), abreast)]
    steps = len(groups) * len(states[0].schedule.timesteps)
    pictures: list[NDArray[np.uint8]] = []
    step = 0
    for group in groups:
        while not group[0].done:
            predictions = pipeline.predict([feeds(state) for state in group])
            group = [advance(state, pred) for state, pred in zip(group, predictions, strict=True)]
            step += 1
            told(step, steps)
        pictures += [keep_outside(pipeline.decode(state.latents), request) for state in group]
    return pictures
