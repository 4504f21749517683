"""The short version of `scripts/torture full`, where a small disk may be mounted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import Unavailable
from torture import full
from torture.__main__ import main


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    try:
        with full.small_disk(tmp_path / "data"):
            pass
    except Unavailable as error:
        pytest.skip(str(error))
    yield tmp_path
    full.unmount(tmp_path / "data")


def test_a_full_disk_refuses_and_loses_nothing(tiny_folder: Path, disk: Path) -> None:
    ask = ["--folder", str(disk), "--seed", "6", "--bundle", str(tiny_folder), "--jobs", "12", "--cycles", "2"]
    status = main(["full", *ask])
    verdict = json.loads((disk / "verdict.json").read_text())
    slow = verdict.pop("late")  # a figure of the machine, which others may share
    assert status == 0 or slow
    assert verdict["cycles"] == 2
    assert not verdict["lost"]
    assert not verdict["not_refused"]
    assert not verdict["wrong_pictures"]
    assert not verdict["not_cleaned"]


def test_the_negative_control_is_found_out(tiny_folder: Path, disk: Path) -> None:
    ask = ["--folder", str(disk), "--seed", "6", "--bundle", str(tiny_folder), "--jobs", "12", "--cycles", "2"]
    assert main(["full", *ask, "--careless"]) == 0
    verdict = json.loads((disk / "verdict.json").read_text())
    assert verdict["lost"]
    assert verdict["not_refused"]
