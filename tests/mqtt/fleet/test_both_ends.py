"""The device's real outbox and sender against the collector: what one says the other keeps, and lets it forget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mqtt.fleet.collector import Collector
from mqtt.fleet.counters import Counters
from mqtt.fleet.store import Store
from mqtt.outbox import Outbox
from mqtt.sender import AGAIN, Sender
from mqtt.store import Store as DeviceStore
from tests.mqtt.fleet.fake_post import FakePost
from tests.mqtt.fleet.records import NOW


class Ends:
    """Both ends and the wire between them; `lose` says how many of the next messages never arrive."""

    def __init__(self, folder: Path, quota: int = 64 << 20) -> None:
        self.outbox = Outbox(DeviceStore(folder / "device.db"), "box", quota, clock=lambda: NOW)
        self.sender = Sender(self.outbox, "box")
        self.post, self.counters, self.lose = FakePost(), Counters(), 0
        self.store = Store(folder / "collector.db", reserve=0, clock=lambda: NOW)
        self.collector = Collector(self.post, self.store, self.counters, clock=lambda: NOW)

    def publish(
        self, topic: str, payload: bytes, *, expiry: int | None = None, correlation: bytes | None = None
    ) -> int | None:
        if self.lose:
            self.lose -= 1
        else:
            self.post.give(topic, payload)
        return 1

    def say(self, count: int) -> None:
        for _ in range(count):
            self.outbox.add("sample", {"picture_seconds": 0.5}, {"engine": "onnxruntime"})

    def turn(self, now: float) -> None:
        self.sender.turn(self.publish, now)
        self.collector.turn()
        for _, ack in self.post.told:
            self.sender.acknowledged(ack)
        self.post.told.clear()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(tmp_path)
    with closing(ends.store), closing(ends.outbox._store.db):
        yield ends


def test_a_backlog_is_kept_and_forgotten(ends: Ends) -> None:
    ends.say(500)
    ends.sender.begin_again(0.0)
    for now in range(20):
        ends.turn(float(now))
    assert ends.outbox.records == 0
    assert ends.counters.value("records_total", outcome="fresh") == 500
    assert ends.store.missing() == 0


def test_messages_that_were_lost_on_the_way_come_again(ends: Ends) -> None:
    ends.say(300)
    ends.sender.begin_again(0.0)
    ends.lose = 2
    for turn in range(20):
        ends.turn(turn * AGAIN)
    assert ends.outbox.records == 0
    assert ends.counters.value("records_total", outcome="fresh") == 300


def test_what_a_full_outbox_gave_up_is_told_exactly_and_leaves_no_gap(tmp_path: Path) -> None:
    ends = Ends(tmp_path, quota=20_000)
    with closing(ends.store), closing(ends.outbox._store.db):
        ends.say(500)
        ends.sender.begin_again(0.0)
        for now in range(20):
            ends.turn(float(now))
        assert ends.outbox.records == 0
        assert ends.store.missing() == 0
        assert ends.counters.value("records_total", outcome="fresh") < 500
        assert ends.store.known() == ends.outbox.next_seq - 1
