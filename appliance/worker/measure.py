"""How long each stage takes and how much the board draws meanwhile, measured around the pipeline, not inside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from appliance.figures import Figures, Histogram
from appliance.pipeline.denoise import DenoiseState, Feeds
from appliance.request import GenerationRequest

SAMPLE_EVERY = 0.5  # seconds between two looks at the power sensor, which answers over a slow bus
_SMOOTHING = 0.2


class Meter:
    """Power times time. `watts` is asked at most every `SAMPLE_EVERY` seconds of work."""

    def __init__(self, watts: Callable[[], float | None]) -> None:
        self._ask = watts
        self._watts = watts()
        self._age = 0.0
        self.joules: float | None = None if self._watts is None else 0.0

    def worked(self, seconds: float) -> None:
        """So long the board worked."""
        self._age += seconds
        if self._age >= SAMPLE_EVERY:
            self._watts, self._age = self._ask(), 0.0
        if self._watts is not None:
            self.joules = (self.joules or 0.0) + self._watts * seconds


class Measure:
    """Collects the engine's figures. `stage(name)` times a block; `finished(n)` says that n pictures are kept."""

    def __init__(
        self,
        engine: str,
        watts: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._meter = Meter(watts)
        self._counted = 0.0  # joules that belong to finished pictures
        self._fresh: list[tuple[str, float]] = []  # stage and seconds that no figure holds yet
        self._figures = Figures(engine=engine, joules=self._meter.joules)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block, unless it raises."""
        began = self._clock()
        yield
        seconds = self._clock() - began
        self._meter.worked(seconds)
        self._fresh.append((name, seconds))  # summed up when somebody asks: this stands between two steps

    @property
    def figures(self) -> Figures:
        """All that was measured so far."""
        stages = dict(self._figures.stages)
        for name, seconds in self._fresh:
            stages[name] = stages.get(name, Histogram()).with_value(seconds)
        self._fresh.clear()
        self._update(stages=stages, joules=self._meter.joules)
        return self._figures

    def finished(self, pictures: int) -> None:
        """So many pictures are on the disk; what was drawn since the last ones is theirs."""
        each = None
        if self._meter.joules is not None:
            each = (self._meter.joules - self._counted) / pictures
            self._counted = self._meter.joules
            before = self._figures.joules_per_picture
            each = each if before is None else before + _SMOOTHING * (each - before)
        self._update(pictures=self._figures.pictures + pictures, joules_per_picture=each)

    def parked(self, seconds: float) -> None:
        """So long it was too hot to go on."""
        self._update(parked_seconds=self._figures.parked_seconds + seconds)

    def _update(self, **changes: object) -> None:
        self._figures = self._figures.model_copy(update=changes)


class Pipeline(Protocol):
    """What the driver needs of `TextToImage`."""

    engine_name: str

    def start(self, request: GenerationRequest, index: int = 0) -> DenoiseState: ...
    def truncated(self, request: GenerationRequest) -> str | None: ...
    def predict(self, batch: Sequence[Feeds]) -> list[NDArray[np.float32]]: ...
    def preview(self, state: DenoiseState) -> NDArray[np.uint8]: ...
    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]: ...


class Measured:
    """A pipeline whose stages are timed; otherwise the same."""

    def __init__(self, pipeline: Pipeline, measure: Measure) -> None:
        self._pipeline = pipeline
        self._measure = measure
        self.engine_name = pipeline.engine_name

    def start(self, request: GenerationRequest, index: int = 0) -> DenoiseState:
        with self._measure.stage("text_encoder"):
            return self._pipeline.start(request, index)

    def truncated(self, request: GenerationRequest) -> str | None:
        return self._pipeline.truncated(request)

    def predict(self, batch: Sequence[Feeds]) -> list[NDArray[np.float32]]:
        with self._measure.stage("unet"):
            return self._pipeline.predict(batch)

    def preview(self, state: DenoiseState) -> NDArray[np.uint8]:
        return self._pipeline.preview(state)

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        with self._measure.stage("vae_decoder"):
            return self._pipeline.decode(latents)
