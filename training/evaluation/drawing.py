"""Pictures from a shipped bundle, by the very pipeline that the box draws with, many in one UNet call."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from appliance.errors import EnsuenoError
from appliance.pipeline.denoise import advance, feeds
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.request import GenerationRequest
from training.corpus.library import Pixels
from training.errors import TrainingError

_TOGETHER = 16  # pictures in one UNet call


@dataclass(frozen=True)
class Wish:
    """One picture to be drawn."""

    prompt: str
    locale: str
    seed: int


class Hand:
    """One bundle at one number of steps (None is the bundle's own). Raises `TrainingError` when it cannot be used."""

    def __init__(self, label: str, folder: Path, steps: int | None = None, threads: int = 2) -> None:
        self.label = label
        try:
            self.bundle = Bundle.open(folder)
            self.offer = self.bundle.manifest.offer()
            self.pipeline = TextToImage.load(self.bundle, threads=threads)
        except EnsuenoError as error:
            raise TrainingError(str(error)) from error
        self.steps = steps or self.offer.default_steps

    def with_steps(self, label: str, steps: int) -> Hand:
        """The same bundle, loaded once, at another number of steps."""
        other = copy.copy(self)
        other.label, other.steps = label, steps
        return other

    def draw(self, wishes: Sequence[Wish], what: str = "") -> Pixels:
        """uint8 ``[N, S, S, 3]``, one picture a wish, in their order."""
        pictures = []
        with tqdm(total=len(wishes), desc=f"{what} {self.label}", unit="picture", mininterval=5, disable=None) as bar:
            for first in range(0, len(wishes), _TOGETHER):
                pictures += self._some(wishes[first : first + _TOGETHER])
                bar.update(min(_TOGETHER, len(wishes) - first))
        return np.stack(pictures)

    def _some(self, wishes: Sequence[Wish]) -> list[Any]:
        try:
            states = [self.pipeline.start(self._request(wish)) for wish in wishes]
            while not states[0].done:
                answers = self.pipeline.predict([feeds(state) for state in states])
                states = [advance(state, answer) for state, answer in zip(states, answers, strict=True)]
            return [self.pipeline.decode(state.latents) for state in states]
        except EnsuenoError as error:
            raise TrainingError(str(error)) from error

    def _request(self, wish: Wish) -> GenerationRequest:
        fields = {"prompt": wish.prompt, "locale": wish.locale, "seed": wish.seed, "steps": self.steps}
        return GenerationRequest.of(fields, self.offer)

    def seconds(self, wish: Wish, repeat: int = 7) -> float:
        """Median wall time of one picture alone, from the request to its pixels, the text met for the first time."""
        self._some([wish])
        taken = []
        for turn in range(repeat):
            fresh = Wish(f"{wish.prompt} {turn}", wish.locale, wish.seed + turn)
            start = time.perf_counter()
            self._some([fresh])
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)
