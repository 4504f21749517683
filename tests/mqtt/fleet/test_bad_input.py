"""What comes from outside may be anything: nothing crashes, each message is kept or counted with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt import topics
from mqtt.fleet import intake
from mqtt.fleet.remote_write import split
from mqtt.messages import MAX_TELEMETRY
from tests.mqtt.fleet import torture
from tests.mqtt.fleet.records import NOW, payload, record

TOPIC = topics.telemetry("box")
YEAR = 366 * 86_400


def taken(topic: str, data: bytes, crowded: bool = False) -> intake.Taken:
    into = intake.Taken()
    intake.take(topic, data, NOW, crowded, into)
    return into


def reasons(topic: str, data: bytes) -> list[str]:
    return [refusal.reason for refusal in taken(topic, data).refusals]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.binary(max_size=300))
def test_random_messages_are_counted(topic: str, data: bytes) -> None:
    for name in (topic, TOPIC):
        found = taken(name, data)
        assert found.refusals or found.readings
        assert {refusal.reason for refusal in found.refusals} <= set(intake.REASONS)


def test_mutated_messages_are_counted(tmp_path: Path) -> None:
    assert torture.payloads(tmp_path, seed=0, count=3000).missing == 0


@pytest.mark.parametrize(
    ("topic", "data", "reason"),
    [
        ("ensueno/v1/box/jobs", payload(record()), "topic"),
        ("ensueno/v1/pools/telemetry", payload(record()), "topic"),
        (TOPIC, b"", "bad_input"),
        (TOPIC, b"[" * 100_000, "bad_input"),
        (TOPIC, b"\xff\xfe", "bad_input"),
        (TOPIC, b'{"v":1,"v":1}', "bad_input"),
        (TOPIC, payload(record(v=2)), "version"),
        (TOPIC, payload(record(device="other")), "identity"),
        (TOPIC, payload(record(seq=0)), "bad_input"),
        (TOPIC, payload(record(samples={"n\ncount": 1.0})), "bad_input"),
        (TOPIC, payload(record(9, kind="lost", lost=[[5, 1]])), "bad_input"),
        (TOPIC, payload(record()).replace(b"0.5", b"NaN"), "bad_input"),
        (TOPIC, payload(record()).replace(b"0.5", b"1e999"), "bad_input"),
        (TOPIC, b" " * (MAX_TELEMETRY + 1), "too_large"),
        (TOPIC, b"x" * 10_000_000, "too_large"),
        (TOPIC, payload(record(time=NOW + YEAR)), "clock"),
        (TOPIC, payload(record(time=NOW - YEAR)), "clock"),
        (TOPIC, payload(record(time=0)), "clock"),
    ],
)  # fmt: skip
def test_each_kind_of_bad_message_has_its_reason(topic: str, data: bytes, reason: str) -> None:
    assert reasons(topic, data) == [reason]


def test_one_bad_record_does_not_take_its_neighbours_with_it() -> None:
    found = taken(TOPIC, payload(record(1), record(2, kind="nonsense"), record(3)))
    assert [reading.seq for reading in found.readings] == [1, 3]
    assert [refusal.reason for refusal in found.refusals] == ["bad_input"]


def test_a_record_of_a_wrong_clock_is_acknowledged_but_never_written_at_that_time() -> None:
    (reading,) = taken(TOPIC, payload(record(time=NOW + YEAR))).readings
    assert reading.seq == 1
    assert b"clock_offset" in reading.series
    assert b"picture_seconds" not in reading.series


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True), st.floats(0, 1e9), max_size=256))
def test_a_device_has_a_bounded_number_of_series_and_in_a_crowd_eight(samples: dict[str, float]) -> None:
    data = payload(record(samples=samples, labels={f"l{number}": "x" for number in range(20)}))
    (alone,), (crowded,) = taken(TOPIC, data).readings, taken(TOPIC, data, crowded=True).readings
    assert len(list(split(alone.series))) <= 66
    assert len(list(split(crowded.series))) <= 8


def test_every_kind_of_record_together_stays_within_eight_series_in_a_crowd() -> None:
    names: set[bytes] = set()
    every: dict[str, Any] = {f"s{number}": 1.0 for number in range(50)}
    essential = {"picture_seconds", "jobs_finished_total", "jobs_failed_total", "throttled", "disk_free_bytes"}
    for body in (
        record(1, samples={**every, **dict.fromkeys(essential, 1.0)}),
        record(2, kind="event", labels={"event": "trouble", "kind": "hot"}, samples={}),
        record(4, kind="lost", lost=[[3, 3]], samples={}),
    ):
        (reading,) = taken(TOPIC, payload(body), crowded=True).readings
        names |= {series.partition(b"ensueno_")[2].split(b"\x0a")[0] for series in split(reading.series)}
    assert len(names) == 8
