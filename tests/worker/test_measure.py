"""Seconds of each stage, joules of each picture."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.figures import BOUNDS, Histogram
from appliance.worker.drive import Driver
from appliance.worker.measure import Measure
from tests.conftest import Box, Clock


def test_a_value_counts_in_the_bucket_that_ends_at_or_above_it() -> None:
    histogram = Histogram().with_value(0.001).with_value(0.0011).with_value(1e9)
    assert histogram.counts[:2] == (1, 1)
    assert histogram.counts[-1] == 1
    assert sum(histogram.counts) == 3
    assert len(histogram.counts) == len(BOUNDS) + 1


def test_joules_are_power_times_the_time_of_work_and_belong_to_the_pictures_they_made() -> None:
    clock = Clock()
    measure = Measure("e", watts=lambda: 10.0, clock=clock)
    for pictures, seconds in ((1, 2.0), (2, 8.0)):
        with measure.stage("unet"):
            clock.now += seconds
        measure.finished(pictures)
    assert measure.figures.joules == pytest.approx(100.0)
    assert measure.figures.joules_per_picture == pytest.approx(20.0 + 0.2 * (40.0 - 20.0))
    assert measure.figures.pictures == 3


def test_a_box_without_a_power_sensor_tells_no_joules() -> None:
    measure = Measure("e", watts=lambda: None)
    with measure.stage("unet"):
        pass
    measure.finished(1)
    assert (measure.figures.joules, measure.figures.joules_per_picture) == (None, None)


def test_a_stage_that_fails_is_not_counted() -> None:
    measure = Measure("e")
    with pytest.raises(ZeroDivisionError), measure.stage("unet"):
        raise ZeroDivisionError
    assert measure.figures.stages == {}


def test_a_real_picture_leaves_its_mark_in_every_stage(box: Box, finish: Callable[[Driver], int]) -> None:
    driver = box.driver()
    box.submit(steps=5, count=2)
    finish(driver)
    figures = driver._measure.figures
    counts = {name: sum(histogram.counts) for name, histogram in figures.stages.items()}
    assert (counts["text_encoder"], counts["vae_decoder"], counts["store"]) == (2, 2, 2)
    assert counts["unet"] >= 5
    assert (figures.pictures, figures.engine) == (2, "onnxruntime")
    box.board.tell(figures)
    assert box.board.figures() == figures
