"""What the box says of itself, from readings of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.device import sensors
from appliance.device.health import Disk, Health, examine, look
from appliance.device.sensors import Memory, Sensors, Zone
from tests.device.boards import plant

ROOMY = Disk(100 << 30, 50 << 30)


def kinds(health: Health) -> list[str]:
    return [trouble.kind for trouble in health.troubles]


def test_a_box_with_nothing_wrong_is_good(tmp_path: Path) -> None:
    health = examine(sensors.read(plant("agx-orin", tmp_path)), ROOMY)
    assert (health.level, health.troubles) == ("good", ())


def test_a_throttling_box_with_little_memory_says_both(tmp_path: Path) -> None:
    health = examine(sensors.read(plant("orin-nx", tmp_path)), ROOMY)
    assert kinds(health) == ["throttled", "swapping"]
    assert health.level == "watch"
    assert "cpufreq-cpu0, gpu" in health.troubles[0].sentence


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        (Zone(93.9, 99, 104.5), []),
        (Zone(94.0, 99, 104.5), ["warm"]),
        (Zone(99.5, 99, 104.5), ["hot"]),
        (Zone(109.5, None, 114.5), ["hot"]),
        (Zone(200.0), []),
    ],
)
def test_heat_is_judged_by_the_boards_own_trip_points(zone: Zone, said: list[str]) -> None:
    assert kinds(examine(Sensors(zones={"tj": zone}), ROOMY)) == said


def test_a_bad_power_supply_is_named() -> None:
    assert kinds(examine(Sensors(over_current={"oc1": 1, "oc3": 500}), ROOMY)) == ["undervoltage"]


@pytest.mark.parametrize(
    ("free", "said"), [(50 << 30, []), (4 << 30, ["disk"]), ((64 << 20) - 1, ["disk_full"])], ids=str
)
def test_a_filling_disk_is_said_before_and_when_it_is_full(free: int, said: list[str]) -> None:
    assert kinds(examine(Sensors(), Disk(100 << 30, free), reserve=64 << 20)) == said


def test_too_little_memory_is_bad() -> None:
    assert examine(Sensors(memory=Memory(8 << 30, 100 << 20)), ROOMY).level == "bad"


def test_every_sentence_names_a_remedy() -> None:
    found = Sensors(
        zones={"tj": Zone(104, 99, 104.5)}, over_current={"oc1": 2}, memory=Memory(8 << 30, 1 << 20, 1 << 30, 0)
    )
    troubles = examine(found, Disk(1 << 30, 0), reserve=1).troubles
    assert len(troubles) == 5
    assert all(": " in trouble.sentence and trouble.sentence.endswith(".") for trouble in troubles)


def test_this_machine_can_be_looked_at(tmp_path: Path) -> None:
    assert look(tmp_path).disk.total > 0
