"""The engine's figures as they lie on the board: seconds of each stage, pictures and joules, since its start.

Written by the engine between two steps, read by whoever is asked (the page, `/metrics`, telemetry). They begin at
zero with each engine, as a Prometheus counter may.
"""

from __future__ import annotations

from bisect import bisect_left

from pydantic import BaseModel, ConfigDict

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


class Histogram(BaseModel):
    """`counts` has one number for each of `BOUNDS` (values up to it, above the one before) and one for the rest."""

    model_config = ConfigDict(frozen=True)

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    total: float = 0.0

    def with_value(self, seconds: float) -> Histogram:
        """The same with one more value."""
        at = bisect_left(BOUNDS, seconds)
        return Histogram(
            counts=(*self.counts[:at], self.counts[at] + 1, *self.counts[at + 1 :]), total=self.total + seconds
        )


class Figures(BaseModel):
    """`stages`: text_encoder, unet (one call for a whole batch), vae_decoder, store. `joules` is what the whole board
    drew while it worked, None where it has no power sensor; `parked_seconds` is how long it was too hot to go on."""

    model_config = ConfigDict(frozen=True)

    engine: str
    stages: dict[str, Histogram] = {}
    pictures: int = 0
    joules: float | None = None
    joules_per_picture: float | None = None
    parked_seconds: float = 0.0
