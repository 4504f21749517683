"""The box's readings as named numbers with units: the same for `/metrics` and for telemetry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from appliance.device.health import Health


@dataclass(frozen=True)
class Measure:
    """One number; names end in their unit, `help` says what it is, `counter` that it only grows."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    counter: bool = False


def measures(health: Health) -> Iterator[Measure]:
    """Everything that is known; what a board does not have is absent, never 0."""
    found, disk = health.sensors, health.disk
    for name, zone in found.zones.items():
        yield Measure("appliance_temperature_celsius", "By thermal zone.", zone.celsius, {"zone": name})
    for name, watts in found.rails.items():
        yield Measure("appliance_rail_watts", "Power by rail.", watts, {"rail": name})
    for name, count in found.over_current.items():
        text = "Voltage and current alarms since boot: oc1 voltage, oc2 average, oc3 instant."
        yield Measure("appliance_over_current_events", text, count, {"kind": name}, counter=True)
    yield from _present("appliance_power_watts", "What the board draws, by its own sensors.", found.watts)
    yield from _present("appliance_gpu_load_ratio", "0 to 1.", found.gpu.load)
    yield from _present("appliance_gpu_frequency_hertz", "The GPU's clock now.", found.gpu.hertz)
    yield from _present("appliance_gpu_frequency_limit_hertz", "The most its power mode allows.", found.gpu.hertz_max)
    yield Measure("appliance_memory_total_bytes", "On a Jetson, of CPU and GPU together.", found.memory.total)
    yield Measure("appliance_memory_available_bytes", "What can be taken without swapping.", found.memory.available)
    yield Measure("appliance_swap_total_bytes", "Swap in all.", found.memory.swap_total)
    yield Measure("appliance_swap_free_bytes", "Swap free.", found.memory.swap_free)
    yield Measure("appliance_throttled", "1 while the kernel slows the box down.", float(bool(found.throttling)))
    yield Measure("appliance_disk_total_bytes", "The disk that holds the pictures.", disk.total)
    yield Measure("appliance_disk_free_bytes", "Room left for pictures.", disk.free)
    for trouble in health.troubles:
        yield Measure(
            "appliance_trouble", "1 for each thing that is wrong.", 1, {"kind": trouble.kind, "level": trouble.level}
        )


def facts(health: Health) -> dict[str, str]:
    """What does not change by itself: board, Jetson Linux, power mode."""
    found = health.sensors
    known = {"board": found.board, "l4t": found.l4t, "power_mode": found.power_mode}
    return {name: value for name, value in known.items() if value is not None}


def _present(name: str, text: str, value: float | None) -> Iterator[Measure]:
    if value is not None:
        yield Measure(name, text, value)
