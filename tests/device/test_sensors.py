"""Sensors on the fixture boards, and on files that hold anything at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.device import sensors
from appliance.device.sensors import Gpu, Zone
from tests.device.boards import BOARDS, plant, put


@pytest.mark.parametrize("board", BOARDS)
def test_every_board_tells_its_memory_and_its_heat(board: str, tmp_path: Path) -> None:
    found = sensors.read(plant(board, tmp_path))
    assert found.memory.total > found.memory.available > 0
    assert found.hottest is not None
    assert found.jetson == (board != "pc")
    assert (found.watts is None) == (board == "pc")


def test_an_orin_nano(tmp_path: Path) -> None:
    found = sensors.read(plant("orin-nano", tmp_path))
    assert found.board == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert found.l4t == "36.4.7"
    assert found.power_mode == "MAXN_SUPER"
    assert found.zones["cpu"] == Zone(50.031, throttle=99.0, critical=104.5)
    assert "cv0" not in found.zones  # powered down: the kernel refuses to read it
    assert found.gpu == Gpu(load=0.412, hertz=612e6, hertz_max=1020e6)
    assert found.memory.swap_total == 16777208 << 10
    assert found.rails == pytest.approx({"VDD_IN": 4.824, "VDD_CPU_GPU_CV": 0.518, "VDD_SOC": 1.475})
    assert found.watts == pytest.approx(4.824)
    assert found.throttling == ()  # a hot surface and a turning fan slow nothing down
    assert found.over_current == {"oc1": 0, "oc2": 15, "oc3": 37}


def test_a_board_that_throttles_says_which_parts(tmp_path: Path) -> None:
    assert sensors.read(plant("orin-nx", tmp_path)).throttling == ("cpufreq-cpu0", "gpu")


def test_a_board_without_an_input_rail_adds_up_those_that_feed_none_of_the_others(tmp_path: Path) -> None:
    found = sensors.read(plant("agx-orin", tmp_path))
    assert found.watts == pytest.approx(0.843 * 6.170 + 0.780 * 3.437 + 4.968 * 0.953, abs=0.001)


def test_a_thor_tells_its_input_and_its_clock_but_no_load(tmp_path: Path) -> None:
    found = sensors.read(plant("thor", tmp_path))
    assert (found.watts, found.gpu) == (19.78, Gpu(load=None, hertz=314e6, hertz_max=1575e6))
    assert found.zones["tj"] == Zone(55.1, throttle=None, critical=114.5)


def test_a_trip_point_that_means_none_is_none(tmp_path: Path) -> None:
    assert sensors.read(plant("pc", tmp_path)).zones["x86_pkg_temp"].throttle is None


def test_a_machine_without_any_of_it_is_fine(tmp_path: Path) -> None:
    assert sensors.read(tmp_path) == sensors.Sensors()


def test_this_machine_tells_its_memory() -> None:
    assert sensors.memory().total > sensors.memory().available > 0


@settings(max_examples=25)
@example(text="nan")
@example(text="1e999")
@given(text=st.text(max_size=60))
def test_no_content_of_any_file_stops_a_reading(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("board")
    for line in ("proc/meminfo", "etc/nv_tegra_release", "var/lib/nvpmodel/status", "etc/nvpmodel.conf",
                 "sys/class/thermal/thermal_zone0/temp", "sys/class/thermal/thermal_zone0/trip_point_0_type",
                 "sys/class/thermal/cooling_device0/type", "sys/class/thermal/cooling_device0/cur_state",
                 "sys/class/devfreq/17000000.gpu/device/load", "sys/class/hwmon/hwmon0/name",
                 "sys/class/hwmon/hwmon1/oc1_event_cnt"):  # fmt: skip
        path = root / line
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    put(root, "sys/class/hwmon/hwmon1/name", "soctherm_oc")
    assert sensors.read(root).memory.total >= 0
