"""The short version of `scripts/torture crashes`."""

from __future__ import annotations

import json
from pathlib import Path

from torture.__main__ import main


def test_the_web_lives_through_every_death_of_the_engine(tiny_folder: Path, tmp_path: Path) -> None:
    ask = ["--folder", str(tmp_path), "--seed", "4", "--bundle", str(tiny_folder), "--jobs", "12", "--crashes", "5"]
    status = main(["crashes", *ask])
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    slow = verdict["web_slow"]  # a figure of the machine, which others may share
    assert status == 0 or slow
    assert not [name for name, found in verdict.items() if isinstance(found, list) and found and name not in
                ("command", "web_slow")]  # fmt: skip
    assert sum(verdict["crashes"].values()) == 5
    assert verdict["web_restarts"] == []
    assert verdict["ends"]["failed"] >= 1  # the poison job
    assert verdict["asked"]["/healthz"]["questions"] > 10
    assert set(verdict["asked"]) == {"/healthz", "/v1/images", "/v1/offer", "/v1/jobs/<id>", "bystander"}
