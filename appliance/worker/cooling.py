"""Slower when hot, parked when too hot: decided between two steps, by the board's own trip points."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal

from appliance.device.health import WARM
from appliance.device.sensors import Zone

Mood = Literal["cool", "warm", "hot"]

LOOK_EVERY = 2.0  # seconds
_BEFORE_THE_END = 3.0  # °C below the point at which the board switches itself off: stop drawing
_LONGEST_REST = 1.0  # seconds between two steps; cancelling stays prompt


class Cooling:
    """Looks at the zones now and then. Warm (within `WARM` of slowing down): it rests as long as it worked, which
    halves the heat it makes. Hot (about to be switched off): it draws nothing until it is no longer warm."""

    def __init__(self, zones: Callable[[], Iterable[Zone]], clock: Callable[[], float] = time.monotonic) -> None:
        self._zones = zones
        self._clock = clock
        self._looked = -1e9
        self.mood: Mood = "cool"

    def rest(self, worked: float) -> float:
        """Seconds to rest after a turn that worked so long; while parked, until the next look."""
        if self._clock() - self._looked >= LOOK_EVERY:
            self._looked = self._clock()
            self.mood = _mood(self._zones(), self.mood)
        if self.mood == "cool":
            return 0.0
        return _LONGEST_REST if self.mood == "hot" else min(worked, _LONGEST_REST)

    @property
    def note(self) -> str | None:
        """What to tell those who wait."""
        if self.mood == "hot":
            return "The box is too hot to draw: it goes on by itself when it has cooled, give it air."
        return "The box is warm and draws at half its pace: give it air." if self.mood == "warm" else None


def _mood(zones: Iterable[Zone], before: Mood) -> Mood:
    moods = {_of_zone(zone, before) for zone in zones}
    return "hot" if "hot" in moods else "warm" if "warm" in moods else "cool"


def _of_zone(zone: Zone, before: Mood) -> Mood:
    """A board that names no throttle point slows itself down somewhere below its end: 2 x `WARM` is taken."""
    if zone.critical is not None and zone.celsius >= zone.critical - _BEFORE_THE_END:
        return "hot"
    slows = zone.throttle or (zone.critical - 2 * WARM if zone.critical is not None else None)
    if slows is None or zone.celsius < slows - WARM:
        return "cool"
    return "hot" if before == "hot" else "warm"
