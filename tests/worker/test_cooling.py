"""Slower when warm, parked when hot, awake again only when it has cooled."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance import config
from appliance.device.sensors import Zone
from appliance.job import JobState
from appliance.journal import Journal
from appliance.progress import Board, board_folder, engine_alive
from appliance.request import GenerationRequest, Offer
from appliance.worker.cooling import LOOK_EVERY, Cooling
from appliance.worker.process import EngineProcess
from tests.conftest import Clock


class Oven:
    """A box whose heat the test sets."""

    def __init__(self, throttle: float | None = 99.0, critical: float | None = 104.5) -> None:
        self.celsius, self.throttle, self.critical = 20.0, throttle, critical
        self.clock = Clock()
        self.cooling = Cooling(lambda: [Zone(self.celsius, self.throttle, self.critical)], self.clock)

    def rest_at(self, celsius: float, worked: float = 0.2) -> float:
        self.celsius = celsius
        self.clock.now += LOOK_EVERY
        return self.cooling.rest(worked)


def test_it_draws_at_full_pace_then_half_then_not_at_all_and_comes_back_late() -> None:
    oven = Oven()
    assert [oven.rest_at(celsius) for celsius in (60, 93.9, 94.0, 101.4, 101.5, 99.0, 94.0, 93.9)] == [
        0.0, 0.0, 0.2, 0.2, 1.0, 1.0, 1.0, 0.0,
    ]  # fmt: skip


def test_it_says_so_to_those_who_wait() -> None:
    oven = Oven()
    oven.rest_at(60)
    assert oven.cooling.note is None
    oven.rest_at(102)
    assert "too hot" in str(oven.cooling.note)


def test_a_board_that_names_only_its_end_is_slowed_before_it() -> None:
    oven = Oven(throttle=None, critical=114.5)  # as Thor does
    assert [oven.rest_at(celsius) for celsius in (99.0, 100.0, 112.0)] == [0.0, 0.2, 1.0]


def test_a_machine_that_names_nothing_is_never_slowed() -> None:
    assert Oven(throttle=None, critical=None).rest_at(150) == 0.0


def test_a_long_step_does_not_make_a_long_rest() -> None:
    assert Oven().rest_at(95, worked=60) == 1.0


def test_the_sensors_are_not_asked_at_every_step() -> None:
    oven = Oven()
    oven.rest_at(60)
    oven.celsius = 103
    assert oven.cooling.rest(0.2) == 0.0


def test_a_parked_engine_lives_keeps_its_jobs_and_goes_on_when_it_has_cooled(
    tmp_path: Path, tiny_folder: Path, tiny_offer: Offer
) -> None:
    settings = config.load({"data_dir": tmp_path / "data", "bundle": tiny_folder, "threads": 1, "reserve_mib": 0})
    engine = EngineProcess(settings)
    oven = Oven()
    engine._cooling = oven.cooling
    oven.rest_at(103)
    journal = Journal(settings.journal_path, reserve=0)
    job, _ = journal.submit(GenerationRequest.of({"prompt": "a", "steps": 1}, tiny_offer))
    engine._driver.look()
    engine._heart._told = -1e9
    for _ in range(3):
        assert engine.turn(0.0) == 1.0
    assert journal.job(job.id).state is JobState.RUNNING
    board = Board(board_folder(settings.data_dir))
    pulse, figures = board.pulse(), board.figures()
    assert pulse is not None
    assert figures is not None
    assert engine_alive(pulse)
    assert "too hot" in str(pulse.note)
    assert engine._measure.figures.parked_seconds == pytest.approx(3.0)
    oven.rest_at(60)
    while journal.job(job.id).state is JobState.RUNNING:
        engine.turn(0.0)
    assert journal.job(job.id).state is JobState.FINISHED
