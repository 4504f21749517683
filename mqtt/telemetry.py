"""What the cloud is told about the box: numbers in base units, no prompt and no picture."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from appliance import __version__
from appliance.device.health import Health
from appliance.errors import EnsuenoError
from appliance.journal import Journal
from appliance.progress import Board, Pulse, engine_alive
from mqtt.outbox import EVENT, SAMPLE, Outbox

_STAGES = {"unet": "step"}  # named as the fleet's dashboards know them
EVERY = 10.0  # seconds between two samples


class Telemetry:
    """Takes a sample when it is time. `own` gives the link's own counters."""

    def __init__(
        self,
        outbox: Outbox,
        journal: Journal,
        board: Board,
        health: Callable[[], Health],
        own: Callable[[], Mapping[str, float]],
    ) -> None:
        self._outbox = outbox
        self._journal = journal
        self._board = board
        self._health = health
        self._own = own
        self._next = 0.0
        self._last: dict[str, float] = {}
        self._before: dict[str, tuple[int, float]] = {}  # of each stage: how often, seconds
        self._troubles: frozenset[str] = frozenset()
        self.unstored = 0

    def turn(self, now: float) -> None:
        """A sample when it is due, and an event for each trouble that came or went."""
        if now < self._next:
            return
        self._next = now + EVERY
        health = self._health()
        self._last = self.sample(health)
        self._store("sample", self._last, self.labels(), SAMPLE)
        troubles = frozenset(trouble.kind for trouble in health.troubles)
        for kind in sorted(troubles ^ self._troubles):
            self.event("trouble" if kind in troubles else "trouble_over", kind=kind)
        self._troubles = troubles

    def event(self, name: str, **labels: str) -> None:
        """Something happened."""
        self._store("event", {}, {"event": name, **labels}, EVENT)

    def numbers(self) -> dict[str, float]:
        """The last sample's numbers, for others."""
        return self._last or self.sample(self._health())

    def sample(self, health: Health) -> dict[str, float]:
        """The box in numbers."""
        counts = self._journal.counts()
        pulse = self._board.pulse()
        found = {f"jobs_{state.value}{_kind(state.ended)}": float(count) for state, count in counts.items()}
        found |= self._stages()
        found |= {"engine_up": float(engine_alive(pulse)), "telemetry_unstored_total": float(self.unstored)}
        return found | _engine(pulse) | _board(health) | dict(self._own())

    def _stages(self) -> dict[str, float]:
        """Mean seconds of each stage since the sample before, and what a picture costs."""
        figures = self._board.figures()
        if figures is None:
            return {}
        found = {}
        for stage, histogram in figures.stages.items():
            count, total = sum(histogram.counts), histogram.total
            before = self._before.get(stage, (0, 0.0))
            if before[0] > count:
                before = (0, 0.0)  # another engine, which counts from zero
            if count > before[0]:
                found[f"{_STAGES.get(stage, stage)}_seconds"] = (total - before[1]) / (count - before[0])
            self._before[stage] = (count, total)
        if figures.joules_per_picture is not None:
            found["joules_per_picture"] = figures.joules_per_picture
        return found | {"parked_seconds_total": figures.parked_seconds}

    def labels(self) -> dict[str, str]:
        pulse = self._board.pulse()
        if pulse is None:
            return {"version": __version__}
        box = {"engine": pulse.engine[:256], "bundle": pulse.bundle[:256], "passport": pulse.passport}
        return box | {"version": __version__}

    def _store(self, kind: str, samples: Mapping[str, float], labels: Mapping[str, str], priority: int) -> None:
        """A full disk costs this record, which had no number yet; how many went so is a number of the next one."""
        try:
            self._outbox.add(kind, samples, labels, priority)
        except EnsuenoError as error:
            self.unstored += 1
            logging.warning("Telemetry could not be stored: %s", error)


def _kind(ended: bool) -> str:
    return "_total" if ended else ""


def _engine(pulse: Pulse | None) -> dict[str, float]:
    if pulse is None:
        return {}
    found = {"engine_pictures": float(pulse.pictures)}
    if pulse.seconds_per_picture is not None:
        found["picture_seconds"] = pulse.seconds_per_picture
    return found


def _board(health: Health) -> dict[str, float]:
    sensors = health.sensors
    told = {
        "temperature_celsius": None if sensors.hottest is None else sensors.hottest.celsius,
        "power_watts": sensors.watts,
        "gpu_load_ratio": sensors.gpu.load,
        "throttled": float(bool(sensors.throttling)),
        "memory_free_bytes": float(sensors.memory.available),
        "disk_free_bytes": float(health.disk.free),
        "trouble": float(("good", "watch", "bad").index(health.level)),
    }
    return {name: value for name, value in told.items() if value is not None}
