"""One value that says what the box is like now, in sentences a person can act on.

`look` reads the sensors and the disk; `examine` is pure. The page, `/metrics`, `ensueno doctor` and telemetry all say
this one value.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.device import sensors
from appliance.device.sensors import Memory, Sensors

Level = Literal["good", "watch", "bad"]

WARM = 5.0  # °C below the throttle point: draw slower
LOW_MEMORY = 256 << 20  # bytes; below, the kernel soon kills somebody
_SWAPPING = 0.5  # of the swap in use while memory is short: everything waits for the disk
_LOW_DISK = 0.05  # of the disk


@dataclass(frozen=True)
class Trouble:
    """What is wrong: `kind` is its short name in every language, `sentence` says it with the remedy."""

    kind: str
    level: Level
    sentence: str


@dataclass(frozen=True)
class Disk:
    """Bytes of the disk that holds the data dir."""

    total: int
    free: int


@dataclass(frozen=True)
class Health:
    """The box now. `level` is the worst of its troubles."""

    sensors: Sensors
    disk: Disk
    troubles: tuple[Trouble, ...]

    @property
    def level(self) -> Level:
        levels: set[Level] = {trouble.level for trouble in self.troubles}
        return "bad" if "bad" in levels else "watch" if "watch" in levels else "good"


def look(data_dir: Path, reserve: int = 0, root: Path = Path("/")) -> Health:
    """The box now; `reserve` is the number of bytes that are kept free on the disk."""
    usage = shutil.disk_usage(data_dir)
    return examine(sensors.read(root), Disk(usage.total, usage.free), reserve)


class Lately:
    """The last look, taken again when it is older than `seconds`: however many ask, the sensors are read once."""

    def __init__(
        self, look: Callable[[], Health], seconds: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[float, Health] | None = None

    def __call__(self) -> Health:
        with self._lock:
            if self._last is None or self._clock() - self._last[0] >= self._seconds:
                self._last = self._clock(), self._look()
            return self._last[1]


def examine(found: Sensors, disk: Disk, reserve: int = 0) -> Health:
    """The same from readings that are at hand."""
    troubles = (*_heat(found), *_power(found), *_memory(found.memory), *_disk(disk, reserve))
    return Health(found, disk, troubles)


def _heat(found: Sensors) -> Iterator[Trouble]:
    zone = found.hottest
    if zone is not None and zone.critical is not None and zone.celsius >= zone.critical - WARM:
        yield Trouble(
            "hot",
            "bad",
            f"The chip has {zone.celsius:.0f} °C and the board switches itself off at {zone.critical:.0f} °C: "
            "free its air vents and check the fan.",
        )
    elif found.throttling:
        yield Trouble(
            "throttled",
            "watch",
            f"The box slows itself down ({', '.join(found.throttling)}): give it air, or a lower power mode.",
        )
    elif zone is not None and zone.throttle is not None and zone.celsius >= zone.throttle - WARM:
        yield Trouble(
            "warm",
            "watch",
            f"The chip has {zone.celsius:.0f} °C and slows down at {zone.throttle:.0f} °C: give it air.",
        )


def _power(found: Sensors) -> Iterator[Trouble]:
    if found.over_current.get("oc1", 0) > 0:
        yield Trouble(
            "undervoltage",
            "watch",
            f"The supply voltage sank {found.over_current['oc1']} times since the start: "
            "use the board's own power supply and a short, thick cable.",
        )


def _memory(memory: Memory) -> Iterator[Trouble]:
    if memory.total > 0 and memory.available < LOW_MEMORY:
        yield Trouble(
            "memory",
            "bad",
            f"Only {memory.available >> 20} MiB of memory are free: close other programs or choose a smaller model.",
        )
    used = memory.swap_total - memory.swap_free
    if memory.available < 2 * LOW_MEMORY and memory.swap_total and used > _SWAPPING * memory.swap_total:
        yield Trouble(
            "swapping",
            "watch",
            f"{used >> 20} MiB lie in the swap while memory is short, which makes pictures slow: "
            "close other programs or choose a smaller model.",
        )


def _disk(disk: Disk, reserve: int) -> Iterator[Trouble]:
    if disk.free < reserve:
        yield Trouble(
            "disk_full",
            "bad",
            f"Only {disk.free >> 20} MiB of the disk are free and no new picture is accepted: delete some.",
        )
    elif disk.free < _LOW_DISK * disk.total:
        yield Trouble(
            "disk", "watch", f"Only {disk.free >> 20} MiB of the disk are free: delete pictures or other files soon."
        )
