"""What a soak writes down of a real box, and what it finds grown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from torture.__main__ import main
from torture.soak import EVERY, WAL_LIMIT, SoakVerdict, _sum_up


def test_a_served_box_is_watched_and_drawn_with(tiny_folder: Path, tmp_path: Path) -> None:
    ask = ["--folder", str(tmp_path), "--seed", "5", "--bundle", str(tiny_folder), "--minutes", str(EVERY / 60)]
    main(["soak", *ask])
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert not verdict["lost"]
    assert not verdict["wrong_pictures"]
    assert not verdict["restarted"]
    taken = verdict["taken"]
    for part in ("supervisor", "web", "engine"):
        assert taken[f"{part} rss"]["early"] > 10 << 20
        assert taken[f"{part} descriptors"]["early"] > 3
        assert taken[f"{part} threads"]["early"] >= 1
    assert taken["pictures"]["largest"] > 1


def samples(**changes: list[int]) -> list[dict[str, Any]]:
    steady = {
        "web rss": [50 << 20] * 20,
        "web descriptors": [20] * 20,
        "web threads": [9] * 20,
        "journal-wal": [4096] * 20,
    }
    series = steady | {name.replace("_", " "): values for name, values in changes.items()}
    return [{"taken": {name: values[at] for name, values in series.items()}, "restarted": []} for at in range(20)]


def test_what_stays_the_same_is_good() -> None:
    verdict = SoakVerdict()
    _sum_up(verdict, samples())
    assert verdict.good


@pytest.mark.parametrize(
    "changes",
    [
        {"web_rss": [(50 + at) << 20 for at in range(20)]},
        {"web_descriptors": list(range(20, 40))},
        {"web_threads": [9] * 10 + [10] * 10},
        {"journal-wal": [4096] * 19 + [WAL_LIMIT + 1]},
    ],
    ids=["memory", "descriptors", "threads", "write-ahead log"],
)
def test_what_grows_is_found(changes: dict[str, list[int]]) -> None:
    verdict = SoakVerdict()
    _sum_up(verdict, samples(**changes))
    assert len(verdict.grown) == 1
    assert not verdict.good
