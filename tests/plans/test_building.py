"""What is told of a build that runs; a real one is watched in `tests/engine_build/test_plans.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.config import Settings
from appliance.journal import Journal
from appliance.plans.building import Building, building
from appliance.status import as_text, status
from tests.builder import at_work, told

UNET = Building("unet", 2, 4, 0.3625, 71.5)


def test_a_build_is_told_while_its_builder_lives(tmp_path: Path) -> None:
    with at_work(tmp_path):
        assert building(tmp_path) == UNET
    assert building(tmp_path) is None


@pytest.mark.parametrize("changes", [{"note": "Done."}, {"fraction": "much"}, {"of": 0}, {"pid": None}])
def test_what_has_ended_or_makes_no_sense_is_no_build(tmp_path: Path, changes: dict[str, object]) -> None:
    with at_work(tmp_path, **changes):
        assert building(tmp_path) is None


def test_the_number_of_another_process_is_no_builder(tmp_path: Path) -> None:
    for number, cmdline in ((7, b"python\0-m\0appliance.web"), (8, b"python\0-m\0engine_build\0build")):
        (tmp_path / "proc" / str(number)).mkdir(parents=True)
        (tmp_path / "proc" / str(number) / "cmdline").write_bytes(cmdline)
    place = tmp_path / "engines" / "0" / "progress.json"
    place.parent.mkdir(parents=True)
    for number, found in ((7, None), (8, UNET), (9, None)):
        place.write_text(json.dumps(told(pid=number)))
        assert building(tmp_path, tmp_path / "proc") == found


def test_no_plans_no_build(tmp_path: Path) -> None:
    assert building(tmp_path) is None


def test_status_tells_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    Journal(settings.journal_path)
    assert "building" not in as_text(status(settings))
    with at_work(tmp_path):
        assert "building   plans: unet, 2 of 4; 36% of all" in as_text(status(settings))
