"""The units say what the commands understand. That systemd starts them on a Jetson was not seen."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

from engine_build.__main__ import _parser

UNITS = Path(__file__).resolve().parents[1] / "systemd"


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNITS / name)
    return parser


def test_the_build_parks_the_queue_and_gives_it_back_however_it_ends() -> None:
    build = unit("ensueno-build.service")
    assert build["Unit"]["Conflicts"] == "ensueno-engine.service"
    assert "systemctl --no-block start ensueno-engine.service" in build["Service"]["ExecStopPost"]


def test_a_box_that_is_stopped_stops_its_build_and_starts_no_engine() -> None:
    build = unit("ensueno-build.service")
    assert build["Unit"]["StopPropagatedFrom"] == "ensueno.target"
    assert "if systemctl is-active --quiet ensueno.target" in build["Service"]["ExecStopPost"]


def test_the_build_is_one_shot_capped_and_alone() -> None:
    service = unit("ensueno-build.service")["Service"]
    assert service["Type"] == "oneshot"
    assert service["MemoryMax"] == "85%"
    assert service["PrivateNetwork"] == "yes"


def test_the_build_command_is_understood() -> None:
    python, dash_m, module, *arguments = shlex.split(unit("ensueno-build.service")["Service"]["ExecStart"])
    assert (python, dash_m, module) == ("/opt/ensueno/current/.venv/bin/python", "-m", "engine_build")
    assert _parser().parse_args(arguments).target == "tensorrt"
