"""The short version of `scripts/torture cuts`, and its negative control."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from torture.__main__ import main


@pytest.mark.parametrize("control", [[], ["--careless"]], ids=["as it is", "negative control"])
def test_power_cuts_lose_nothing_and_without_syncing_they_do(
    tiny_folder: Path, tmp_path: Path, control: list[str]
) -> None:
    ask = ["cuts", "--folder", str(tmp_path), "--seed", "5", "--bundle", str(tiny_folder), "--jobs", "14", "--cuts"]
    assert main([*ask, "5", *control]) == 0
    assert main([*ask, "10", *control]) == 0
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["cuts"] == 10
    assert bool(verdict["lost"] or verdict["broken"]) == bool(control)
