"""tegrastats' line, as five boards printed it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.device.tegrastats import Tegrastats, parse, sample
from tests.device.boards import tegrastats_lines


@pytest.mark.parametrize(
    ("board", "load", "megahertz", "tj", "rail", "watts", "blocks"),
    [
        ("orin-nano", 0.0, None, 50.25, "VDD_IN", 4.824, 25),
        ("orin-nano-4gb", 0.0, 305, 56.281, "VDD_IN", 4.428, 21),
        ("agx-orin", 0.14, 407, 77.281, "VDD_GPU_SOC", 3.150, 424),
        ("thor-jp7.2", None, None, 63.281, "VIN", 87.426, 12),
        ("thor-jp7.1", None, 314, 38.875, "VDD_GPU", 1.962, 34),
    ],
)
def test_recorded_lines(
    board: str, load: float | None, megahertz: int | None, tj: float, rail: str, watts: float, blocks: int
) -> None:
    told = parse(tegrastats_lines()[board])
    assert told.gpu_load == load
    assert told.gpu_hertz == (None if megahertz is None else megahertz * 1e6)
    assert told.temperatures["tj"] == tj
    assert told.rails[rail] == watts
    assert told.largest_free_blocks == (blocks, 4 << 20)


def test_a_load_beside_a_list_of_clocks_is_read_too() -> None:
    """As JetPack 7.2 prints it on an Orin (jetson_stats, pull request 894)."""
    told = parse("EMC_FREQ 3%@3199 GR3D_FREQ 7%@[1300,1300] cpu@52.968C/52.968C")
    assert (told.gpu_load, told.gpu_hertz, told.temperatures) == (0.07, 1.3e9, {"cpu": 52.968})


@given(st.text(max_size=200))
def test_no_line_is_too_strange(line: str) -> None:
    assert isinstance(parse(line), Tegrastats)


def test_a_machine_without_it_has_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert sample() is None
