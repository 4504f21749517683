"""What comes from outside may be anything: nothing crashes, each message is kept or counted with a reason."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt import topics
from mqtt.fleet import intake, series, simulate
from mqtt.fleet.remote_write import split
from mqtt.fleet.store import LABELS, SESSION_KEPT, SESSIONS, Kept, Store
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


@settings(max_examples=60)
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
        (TOPIC, payload(record(samples={"telemetry_seq": 5.0})), "sample"),
        (TOPIC, payload(record(samples={"info": 5.0})), "sample"),
        (TOPIC, payload(record(samples={"whatever": 5.0})), "sample"),
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


def series_of(device: str, records: list[dict[str, Any]], folder: Path, crowded: bool) -> tuple[set[bytes], Store]:
    """The labels of every series that the records come to in Prometheus; and the store, for what it put aside."""
    into = intake.Taken()
    for body in records:
        intake.take(topics.telemetry(device), payload(body), NOW, crowded, into)
    store = Store(folder / f"{device}.db", reserve=0, clock=lambda: NOW)
    store.keep(into.readings, into.refusals)
    spooled = store.waiting(1 << 30)
    assert spooled is not None
    parts = list(split(spooled.series))
    assert len(parts) == spooled.samples == store.backlog()
    return {b"".join(labels_of(part)) for part in parts}, store


def labels_of(encoded: bytes) -> list[bytes]:
    at, found = encoded.index(b"\x0a", 1), []
    while encoded[at] == 0x0A:
        found.append(encoded[at : at + 2 + encoded[at + 1]])
        at += 2 + encoded[at + 1]
    return found


def of_every_kind(session: str = "life", **labels: str) -> list[dict[str, Any]]:
    """All that one life of a box can tell, with names that it should not know."""
    every = {**dict.fromkeys(series.KNOWN, 1.0), **dict.fromkeys(series.OF_THE_RECORD, 9.0), "odd": 1.0}
    return [
        record(1, session=session, samples=every, labels={"engine": "tensorrt", **labels}),
        record(2, session=session, kind="event", labels={"event": "trouble", "kind": "hot", **labels}, samples={}),
        record(4, session=session, kind="lost", lost=[[3, 3]], samples={}),
        record(5, session=session, time=NOW + YEAR),
    ]


def test_a_device_has_a_bounded_number_of_series_and_in_a_crowd_eight(tmp_path: Path) -> None:
    for crowded, most in ((False, len(series.KNOWN) + len(series.OF_THE_RECORD)), (True, 8)):
        found, store = series_of("box", of_every_kind(), tmp_path / str(crowded), crowded)
        with closing(store):
            assert len(found) == most
            assert {"sample", "clock"} <= {refusal.reason for refusal in store.aside()}
    assert len(series.KNOWN) <= 64


@pytest.mark.parametrize("crowded", [False, True])
def test_a_device_that_changes_its_life_and_its_labels_for_ever_has_no_more(tmp_path: Path, crowded: bool) -> None:
    lives = [one for n in range(300) for one in of_every_kind(f"life-{n}")]
    labels = [one for n in range(300) for one in of_every_kind("life", version=str(n), kind=str(n))]
    labels = [{**one, "seq": n + 1, "lost": [], "time": NOW} for n, one in enumerate(labels)]
    for number, records in enumerate((lives, labels)):
        found, store = series_of("box", records, tmp_path / str(number), crowded)
        with closing(store):
            fixed = 8 if crowded else len(series.KNOWN) + len(series.OF_THE_RECORD)
            assert len(found) <= fixed + (SESSIONS, LABELS)[number]
            assert ("sessions", "labels")[number] in {refusal.reason for refusal in store.aside()}


def test_labels_that_are_used_no_more_make_room_for_others(tmp_path: Path) -> None:
    now = [NOW]
    with closing(Store(tmp_path / "x.db", reserve=0, clock=lambda: now[0])) as store:

        def say(seq: int) -> Kept:
            body = record(seq, labels={"version": str(seq)}, time=NOW)
            return store.keep(taken(TOPIC, payload(body)).readings)

        assert [len(say(seq).refusals) for seq in range(1, LABELS + 2)] == [0] * LABELS + [1]
        now[0] += SESSION_KEPT + 1
        store.forget()
        assert not say(LABELS + 2).refusals


def test_what_simulated_boxes_tell_is_known() -> None:
    device = simulate.devices(1)[0]
    device.say(NOW)
    assert reasons(topics.telemetry(device.name), device.outbox[1]) == []
