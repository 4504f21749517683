"""What the box measures, read straight from sysfs and procfs: no daemon, no root, no library.

`read(root)` never fails: what a board does not have, or will not say just now, is absent. Paths as on Jetson Linux 36
to 39 (Orin, Thor) and on any PC; tests/device/fixtures says which of them were recorded and which only documented.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PLAUSIBLE = (50.0, 130.0)  # °C; a trip point outside is a driver's way to say "none"
_TOTAL_RAILS = ("VDD_IN", "VIN")  # the module's, or the whole board's, own input
_INSIDE_ANOTHER = ("VDDQ_VDD2_1V8AO",)  # fed from VIN_SYS_5V0: counting it twice would flatter nobody
_SLOWING = re.compile(r"cpufreq|devfreq|Processor|.*-throttle-alert")  # not hot-surface-alert: it only warns
_GPU = re.compile(r".*\.(gpu|ga10b)|gpu-gpc-\d+")
_L4T = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")


@dataclass(frozen=True)
class Zone:
    """A temperature in °C, and those at which the kernel slows the chip down and switches the board off."""

    celsius: float
    throttle: float | None = None
    critical: float | None = None


@dataclass(frozen=True)
class Gpu:
    """`load` is 0 to 1, the clocks are in hertz; None where the board does not say."""

    load: float | None = None
    hertz: float | None = None
    hertz_max: float | None = None


@dataclass(frozen=True)
class Memory:
    """/proc/meminfo in bytes. On a Jetson CPU and GPU share it."""

    total: int = 0
    available: int = 0
    swap_total: int = 0
    swap_free: int = 0


@dataclass(frozen=True)
class Sensors:
    """One reading. `rails` are watts by name; `over_current` counts events since boot by name."""

    board: str | None = None
    l4t: str | None = None
    power_mode: str | None = None
    zones: Mapping[str, Zone] = field(default_factory=dict)
    gpu: Gpu = Gpu()
    memory: Memory = Memory()
    rails: Mapping[str, float] = field(default_factory=dict)
    throttling: tuple[str, ...] = ()
    over_current: Mapping[str, int] = field(default_factory=dict)

    @property
    def jetson(self) -> bool:
        return self.l4t is not None

    @property
    def hottest(self) -> Zone | None:
        """The zone nearest to its own throttle point, else the hottest one."""
        zones = sorted(self.zones.values(), key=lambda zone: (zone.throttle or 1000.0) - zone.celsius)
        return zones[0] if zones else None

    @property
    def watts(self) -> float | None:
        """What the board draws, by its own sensors: the input rail, or the sum where it has none."""
        for name in _TOTAL_RAILS:
            if name in self.rails:
                return self.rails[name]
        parts = [watts for name, watts in self.rails.items() if name not in _INSIDE_ANOTHER]
        return sum(parts) if parts else None


def read(root: Path = Path("/")) -> Sensors:
    """Everything at once; some milliseconds on a Jetson, whose sensors answer over I2C."""
    return Sensors(
        board=_text(root / "proc/device-tree/model"),
        l4t=l4t(root),
        power_mode=_power_mode(root),
        zones=zones(root),
        gpu=_gpu(root),
        memory=memory(root),
        rails=dict(_rails(root)),
        throttling=tuple(_throttling(root)),
        over_current=_over_current(root),
    )


def memory(root: Path = Path("/")) -> Memory:
    """The memory alone; microseconds."""
    lines = (line.split(":", 1) for line in (_text(root / "proc/meminfo") or "").splitlines() if ":" in line)
    kib = {name: int(value.split()[0]) for name, value in lines if value.split() and value.split()[0].isdecimal()}
    names = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
    total, available, swap_total, swap_free = (kib.get(name, 0) << 10 for name in names)
    return Memory(total, available, swap_total, swap_free)


def watts(root: Path = Path("/")) -> float | None:
    """The power alone."""
    return Sensors(rails=dict(_rails(root))).watts


def zones(root: Path = Path("/")) -> dict[str, Zone]:
    """The temperatures alone. A powered-down part's zone cannot be read, and is left out."""
    found = {}
    for folder in _folders(root / "sys/class/thermal", "thermal_zone*"):
        milli = _number(folder / "temp")
        if milli is None or not -50_000 < milli < 200_000:
            continue
        name = (_text(folder / "type") or folder.name).removesuffix("-thermal").removesuffix("_thermal")
        found[name] = Zone(milli / 1000, _trip(folder, "passive"), _trip(folder, "critical"))
    return found


def l4t(root: Path = Path("/")) -> str | None:
    """Jetson Linux's version, "36.4.7"; None elsewhere."""
    match = _L4T.search(_text(root / "etc/nv_tegra_release") or "")
    return f"{match[1]}.{match[2]}" if match else None


def _trip(folder: Path, kind: str) -> float | None:
    """The highest trip point of that kind: on Orin a lower passive one only warns of a hot surface."""
    trips = [
        (_number(path.with_name(path.name.replace("_type", "_temp"))) or 0) / 1000
        for path in folder.glob("trip_point_*_type")
        if _text(path) == kind
    ]
    plausible = [trip for trip in trips if _PLAUSIBLE[0] <= trip <= _PLAUSIBLE[1]]
    return max(plausible, default=None)


def _gpu(root: Path) -> Gpu:
    for folder in _folders(root / "sys/class/devfreq", "*"):
        if _GPU.fullmatch(folder.name):
            permille = _number(folder / "device/load")
            load = None if permille is None else min(1.0, permille / 1000)
            return Gpu(load, _number(folder / "cur_freq"), _number(folder / "max_freq"))
    return Gpu()


def _rails(root: Path) -> Iterator[tuple[str, float]]:
    """INA3221 channels tell millivolts and milliamperes, an INA238 (Thor's input) microwatts."""
    for folder in _folders(root / "sys/class/hwmon", "hwmon*"):
        chip = _text(folder / "name") or ""
        if chip == "ina238":
            micro = _number(folder / "power1_input")
            if micro is not None:
                yield _text(folder / "power1_label") or _text(folder / "in1_label") or "VIN", micro / 1e6
        elif chip == "ina3221":
            yield from _channels(folder)


def _channels(folder: Path) -> Iterator[tuple[str, float]]:
    for channel in (1, 2, 3):
        label = _text(folder / f"in{channel}_label")
        volts, amperes = _number(folder / f"in{channel}_input"), _number(folder / f"curr{channel}_input")
        if label and label != "NC" and volts is not None and amperes is not None:
            yield label, volts * amperes / 1e6


def _throttling(root: Path) -> Iterator[str]:
    for folder in _folders(root / "sys/class/thermal", "cooling_device*"):
        kind = _text(folder / "type") or ""
        if _SLOWING.match(kind) and (_number(folder / "cur_state") or 0) > 0:
            yield kind.removesuffix("-throttle-alert")


def _over_current(root: Path) -> dict[str, int]:
    return {
        path.name.removesuffix("_event_cnt"): int(_number(path) or 0)
        for folder in _folders(root / "sys/class/hwmon", "hwmon*")
        if _text(folder / "name") == "soctherm_oc"
        for path in sorted(folder.glob("oc*_event_cnt"))
    }


def _power_mode(root: Path) -> str | None:
    """nvpmodel keeps the number in its status file and the names in its configuration."""
    status = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status") or "")
    if status is None:
        return None
    names = re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", _text(root / "etc/nvpmodel.conf") or "")
    known: dict[int, str] = {int(number): name for number, name in names}
    return known.get(int(status[1]), f"mode {int(status[1])}")


def _folders(parent: Path, pattern: str) -> list[Path]:
    """The numbered folders of a class in the kernel's own order."""
    try:
        found = [path for path in parent.glob(pattern) if path.is_dir()]
    except OSError:
        return []
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "replace").strip("\0\n\t ") or None
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        number = float(_text(path) or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
