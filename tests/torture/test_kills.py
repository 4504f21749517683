"""The short version of `scripts/torture kills`, its negative control, and the names of its failpoints."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from torture.__main__ import main
from torture.kills import FAILPOINTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ask(tiny_folder: Path, tmp_path: Path) -> list[str]:
    return ["--folder", str(tmp_path), "--seed", "5", "--bundle", str(tiny_folder)]


def test_kills_lose_nothing_and_the_same_command_goes_on(ask: list[str], tmp_path: Path) -> None:
    assert main(["kills", *ask, "--kills", "4", "--jobs", "20"]) == 0
    assert main(["kills", *ask, "--kills", "8", "--jobs", "40"]) == 0
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["good"]
    assert verdict["accepted"] == 40
    history = (tmp_path / "history.jsonl").read_text()
    assert history.count('"what": "kill"') == 8


def test_the_negative_control_is_found_out(ask: list[str], tmp_path: Path) -> None:
    assert main(["kills", *ask, "--kills", "6", "--jobs", "40", "--careless"]) == 0
    assert json.loads((tmp_path / "verdict.json").read_text())["lost"]


def test_a_bundle_that_is_none_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kills", "--folder", str(tmp_path), "--bundle", str(tmp_path / "none")]) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_every_named_failpoint_is_in_the_code() -> None:
    named = {name for names in FAILPOINTS.values() for name in names}
    assert named <= points_in_the_code()


def test_every_point_of_accepting_drawing_and_ending_is_killed_at() -> None:
    named = {name for names in FAILPOINTS.values() for name in names}
    untouched = points_in_the_code() - named
    # no wish starts from a picture or is too long for the tokenizer, and neither owner nor retention is at work
    rare = ("limit", "live", "note_truncated", "sweep", "take_in", "trial")
    assert {name for name in untouched if not name.startswith(rare)} == set()


def points_in_the_code() -> set[str]:
    """`reached("…")` as written, and `write("…")`, which has two points of its own."""
    found = set()
    for path in (ROOT / "appliance").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                name = str(node.args[0].value) if isinstance(node.args[0], ast.Constant) else ""
                if node.func.attr == "reached" and name:
                    found.add(name)
                if node.func.attr == "write" and name:
                    found |= {f"{name}.uncommitted", f"{name}.committed"}
    return found
