"""The outbox: numbered without a gap, bounded, exact about what it lost, emptied by the collector alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt.messages import Ack, Telemetry, read_telemetry
from mqtt.outbox import OVERHEAD, QUOTA, Outbox
from mqtt.sender import AGAIN, Sender
from mqtt.store import Store
from tests.conftest import Clock


def opened(folder: Path, quota: int = QUOTA) -> Outbox:
    return Outbox(Store(folder / "link.db"), "box", quota, Clock())


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return opened(tmp_path)


def records(outbox: Outbox) -> list[Telemetry]:
    found = outbox.between(0, 1 << 53, 1 << 30)
    return read_telemetry(b"[" + b",".join(record for _, record in found) + b"]")


def fill(outbox: Outbox, count: int, priority: int = 1) -> None:
    for number in range(count):
        outbox.add("sample", {"x": float(number)}, {}, priority)


class Wire:
    """Where a `Sender` publishes: keeps what it was given. It does not prove that anything arrives."""

    def __init__(self) -> None:
        self.up = True
        self.records: list[Telemetry] = []

    def __call__(self, topic: str, payload: bytes, **more: Any) -> int | None:
        if not self.up:
            return None
        self.records += read_telemetry(payload)
        return 1

    @property
    def seqs(self) -> list[int]:
        return [record.seq for record in self.records]


def test_numbers_go_on_after_a_restart_and_after_all_was_acknowledged(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    fill(outbox, 3)
    outbox.settle(Ack(session=outbox.session, upto=3))
    again = opened(tmp_path)
    fill(again, 1)
    assert [record.seq for record in records(again)] == [4]
    assert again.session == outbox.session


def test_only_the_collectors_ack_for_this_outbox_deletes(outbox: Outbox) -> None:
    fill(outbox, 6)
    assert outbox.settle(Ack(session="another", upto=6)) == 0
    assert outbox.settle(Ack(session=outbox.session, upto=2, also=[(4, 5)])) == 4
    assert [record.seq for record in records(outbox)] == [3, 6]
    assert outbox.size == opened_size(outbox)


def opened_size(outbox: Outbox) -> int:
    return outbox._one("SELECT coalesce(sum(size), 0) FROM outbox")


def test_when_it_is_full_the_oldest_of_the_lowest_priority_goes_and_is_reported_exactly(tmp_path: Path) -> None:
    outbox = opened(tmp_path, quota=20 * (70 + OVERHEAD))
    fill(outbox, 10, priority=2)
    fill(outbox, 40, priority=0)
    kept = [record.seq for record in records(outbox)]
    assert kept[:10] == list(range(1, 11))
    assert kept[-1] == 50
    missing = sorted(set(range(1, 51)) - set(kept))
    assert outbox.lost == len(missing)
    outbox.report_lost()
    report = records(outbox)[-1]
    assert report.kind == "lost"
    assert report.count == len(missing)
    assert [seq for first, last in report.lost for seq in range(first, last + 1)] == missing
    assert outbox.lost == 0


def test_a_report_that_has_to_go_itself_takes_none_of_its_news_along(tmp_path: Path) -> None:
    outbox = opened(tmp_path, quota=4 * (70 + OVERHEAD))
    for _ in range(5):
        fill(outbox, 9)
        outbox.report_lost()
    told = {seq for record in records(outbox) for first, last in record.lost for seq in range(first, last + 1)}
    kept = {record.seq for record in records(outbox)}
    assert told | kept == set(range(1, outbox.next_seq))


def test_reports_of_one_moment_have_times_of_their_own(outbox: Outbox) -> None:
    with outbox._store.write() as db:
        db.executemany("INSERT INTO lost VALUES (?, ?)", [(number, number) for number in range(1, 1201, 2)])
    outbox.report_lost()
    times = [record.time for record in records(outbox)]
    assert len(times) == 3
    assert len(set(times)) == 3


def test_64_mib_hold_72_hours_of_full_samples(outbox: Outbox) -> None:
    sample = {f"a_rather_long_name_of_a_number_{number}": 1e5 / (number + 1) for number in range(40)}
    labels = {"engine": "tensorrt-rtx", "bundle": "emoji-128 1.0.0", "version": "0.1.0", "passport": "mismatch"}
    hours = 1
    for _ in range(hours * 3600 // 10):
        outbox.add("sample", sample, labels)
    assert outbox.size * 72 / hours < QUOTA
    db = outbox._store.db
    db.pragma("wal_checkpoint(TRUNCATE)")
    assert db.pragma("page_count") * db.pragma("page_size") * 72 / hours < QUOTA  # the file on the disk too


def test_new_records_go_at_once_and_the_backlog_after_them(outbox: Outbox) -> None:
    fill(outbox, 3)
    sender, wire = Sender(outbox, "box"), Wire()
    fill(outbox, 1)
    sender.turn(wire, 1.0)
    assert wire.seqs == [4, 1, 2, 3]


def test_nothing_is_sent_twice_until_the_collector_was_silent_for_long(outbox: Outbox) -> None:
    fill(outbox, 3)
    sender, wire = Sender(outbox, "box"), Wire()
    sender.turn(wire, 1.0)
    sender.turn(wire, AGAIN - 1.0)
    assert wire.seqs == [1, 2, 3]
    sender.turn(wire, 2 * AGAIN)
    assert wire.seqs == [1, 2, 3, 1, 2, 3]


def test_what_was_sent_into_the_void_is_sent_again_while_newer_ones_are_acknowledged(outbox: Outbox) -> None:
    fill(outbox, 2)
    sender, wire = Sender(outbox, "box"), Wire()
    sender.turn(wire, 1.0)
    for now in range(2, int(AGAIN) + 5):
        fill(outbox, 1)
        sender.turn(wire, float(now))
        sender.acknowledged(Ack(session=outbox.session, upto=0, also=[(3, outbox.next_seq - 1)]))
    assert wire.seqs.count(1) == wire.seqs.count(2) == 2


def test_a_large_backlog_waits_for_the_collector_in_windows(outbox: Outbox) -> None:
    outbox._store.db.pragma("synchronous", "OFF")  # only here: the test is about the window
    fill(outbox, 4500)
    sender, wire = Sender(outbox, "box"), Wire()
    sender.turn(wire, 1.0)
    first = len(wire.records)
    assert 0 < first < 4500
    sender.acknowledged(Ack(session=outbox.session, upto=first))
    sender.turn(wire, 2.0)
    assert wire.seqs == list(range(1, len(wire.records) + 1))
    assert len(wire.records) > first


@settings(max_examples=20)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "ack", "cut", "restart", "turn", "silence"]), st.integers(0, 3)), max_size=40
    )
)
def test_a_collector_that_loses_messages_ends_up_with_every_number_once_or_reported(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    outbox = opened(folder, quota=8 * (70 + OVERHEAD))
    sender, wire, now = Sender(outbox, "box"), Wire(), 0.0
    have: set[int] = set()

    def collect() -> None:
        for record in wire.records:
            have.update([record.seq, *(seq for a, b in record.lost for seq in range(a, b + 1))])
        wire.records.clear()
        upto = next(seq for seq in range(len(have) + 1) if seq + 1 not in have)
        also = [(seq, seq) for seq in sorted(have) if seq > upto]
        sender.acknowledged(Ack(session=outbox.session, upto=upto, also=also))

    def add(number: int) -> None:
        outbox.add("sample", {"x": 1.0}, {}, number)

    for step, number in steps:
        now += 10_000.0 if step == "silence" else 1.0
        if step == "restart":
            outbox = opened(folder, quota=8 * (70 + OVERHEAD))
            sender = Sender(outbox, "box")
        acts: dict[str, Callable[[], None]] = {
            "add": partial(add, number),
            "ack": collect,
            "cut": wire.records.clear,
            "turn": partial(sender.turn, wire, now),
        }
        acts.get(step, list)()
    for _ in range(20):
        now += 10_000
        sender.turn(wire, now)
        collect()
    assert outbox.records == 0
    assert have == set(range(1, outbox.next_seq))


def test_a_record_on_the_wire_is_plain_json_of_its_version(outbox: Outbox) -> None:
    fill(outbox, 1)
    (_, record) = outbox.between(0, 2, 1000)[0]
    assert json.loads(record) == {
        "v": 1, "device": "box", "session": outbox.session, "seq": 1, "priority": 1, "time": 1_000_000.0,
        "kind": "sample", "samples": {"x": 0.0},
    }  # fmt: skip
