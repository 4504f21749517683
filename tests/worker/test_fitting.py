"""An engine asks for the plans it lacks when nobody waits, once."""

from __future__ import annotations

from pathlib import Path

from appliance.plans.wanted import Wanted, take, wanted
from appliance.worker.fitting import QUIET, Fitting
from tests.conftest import Clock

PLANS = Wanted(target="tensorrt", bundle=Path("tiny"), made_of={})


def test_it_asks_when_nobody_has_waited_for_a_while_and_only_once(tmp_path: Path) -> None:
    clock = Clock()
    fitting = Fitting(tmp_path, PLANS, clock)
    clock.now += QUIET - 1
    fitting.turned(busy=True)
    clock.now += QUIET - 1
    fitting.turned(busy=False)
    assert wanted(tmp_path) is None
    clock.now += 1
    fitting.turned(busy=False)
    assert wanted(tmp_path) == PLANS
    take(tmp_path)
    clock.now += QUIET
    fitting.turned(busy=False)
    assert wanted(tmp_path) is None


def test_an_engine_that_lacks_nothing_asks_for_nothing(tmp_path: Path) -> None:
    clock = Clock()
    fitting = Fitting(tmp_path, None, clock)
    clock.now += 10 * QUIET
    fitting.turned(busy=False)
    assert wanted(tmp_path) is None
