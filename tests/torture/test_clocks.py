"""The short version of `scripts/torture clocks`, and its negative control."""

from __future__ import annotations

import json
from pathlib import Path

from torture.__main__ import main


def test_a_clock_that_jumps_loses_nothing_and_lets_nothing_expire(tiny_folder: Path, tmp_path: Path) -> None:
    ask = ["--folder", str(tmp_path), "--seed", "5", "--bundle", str(tiny_folder), "--jobs", "30", "--jumps", "10"]
    assert main(["clocks", *ask]) == 0
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (verdict["jumps"], verdict["accepted"]) == (10, 30)


def test_a_box_that_trusts_its_clock_is_found_out(tiny_folder: Path, tmp_path: Path) -> None:
    ask = ["--folder", str(tmp_path), "--seed", "5", "--bundle", str(tiny_folder), "--jobs", "30", "--jumps", "10"]
    assert main(["clocks", *ask, "--careless"]) == 0
    assert json.loads((tmp_path / "verdict.json").read_text())["misfired"]
