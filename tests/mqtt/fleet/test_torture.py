"""The long proofs, one short round each (scripts/torture-fleet runs them for hours)."""

from __future__ import annotations

from pathlib import Path

from tests.mqtt.fleet.torture import HastyCollector, Round


def test_a_broker_that_is_killed_and_a_collector_that_dies_leave_no_gap_and_no_double(tmp_path: Path) -> None:
    outcome = Round(tmp_path, seed=3).run(devices=10, records=1500, kills=2)
    assert (outcome.missing, outcome.doubled) == (0, 0)


def test_a_collector_that_acknowledges_too_early_is_found_out(tmp_path: Path) -> None:
    round_ = Round(tmp_path, seed=3, kind=HastyCollector)
    outcome = round_.run(devices=10, records=1500, kills=0)
    assert round_.deaths > 0
    assert outcome.missing > 0
