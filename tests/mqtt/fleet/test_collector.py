"""What the collector keeps, what it acknowledges and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt import topics
from mqtt.fleet.collector import LOOK_AGAIN, Collector, acks
from mqtt.fleet.counters import Counters
from mqtt.fleet.remote_write import split
from mqtt.fleet.store import SPEAKS, Store
from mqtt.messages import MAX_RANGES, Ack
from tests.mqtt.fleet.fake_post import FakePost
from tests.mqtt.fleet.records import NOW, payload, record

TOPIC = topics.telemetry("box")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "collector.db", reserve=0, clock=lambda: NOW)) as store:
        yield store


def collector(post: FakePost, store: Store, **more: object) -> tuple[Collector, Counters]:
    counters = Counters()
    return Collector(post, store, counters, clock=lambda: NOW, **more), counters  # type: ignore[arg-type]


def samples_kept(store: Store) -> int:
    waiting = store.waiting(1 << 30)
    return 0 if waiting is None else sum(1 for _ in split(waiting.series))


def test_what_was_kept_is_acknowledged_to_broker_and_device(store: Store) -> None:
    post = FakePost()
    post.give(TOPIC, payload(record(1), record(2)))
    one, counters = collector(post, store)
    assert one.turn() == 1
    assert post.acked == [1]
    assert post.told == [(topics.ack("box"), Ack(session="life", upto=2))]
    assert counters.value("records_total", outcome="fresh") == 2
    assert samples_kept(store) == 2 * 3  # number, info, picture_seconds


def test_a_repeat_is_acknowledged_again_and_kept_once(store: Store) -> None:
    post = FakePost()
    one, counters = collector(post, store)
    for _ in range(3):
        post.give(TOPIC, payload(record(1)))
        one.turn()
    assert [ack.upto for _, ack in post.told] == [1, 1, 1]
    assert counters.value("records_total", outcome="repeated") == 2
    assert samples_kept(store) == 3


def test_live_first_and_backlog_after_close_the_gap(store: Store) -> None:
    post = FakePost()
    one, _ = collector(post, store)
    post.give(TOPIC, payload(record(5)))
    one.turn()
    assert post.told[-1][1] == Ack(session="life", upto=0, also=[(5, 5)])
    assert store.missing() == 0  # nothing is known below the first that came
    post.give(TOPIC, payload(record(1), record(2)))
    one.turn()
    assert post.told[-1][1] == Ack(session="life", upto=2)
    assert store.missing() == 2
    post.give(TOPIC, payload(record(3), record(4)))
    one.turn()
    assert post.told[-1][1] == Ack(session="life", upto=5)
    assert store.missing() == 0


def test_numbers_that_the_device_lost_count_as_come(store: Store) -> None:
    post = FakePost()
    post.give(TOPIC, payload(record(1), record(9, kind="lost", samples={}, lost=[[2, 8]], count=7)))
    one, _ = collector(post, store)
    one.turn()
    assert post.told[-1][1].upto == 9
    assert store.missing() == 0


def test_a_death_between_keeping_and_acknowledging_costs_a_repeat_and_nothing_else(
    store: Store, tmp_path: Path
) -> None:
    class Death(Exception):  # noqa: N818
        pass

    def die(_name: str) -> None:
        raise Death

    post = FakePost()
    post.give(TOPIC, payload(record(1)))
    first, _ = collector(post, store, failpoint=die)
    with pytest.raises(Death):
        first.turn()
    assert not post.acked
    assert not post.told
    with closing(Store(tmp_path / "collector.db", reserve=0, clock=lambda: NOW)) as again:
        post.give(TOPIC, payload(record(1)))
        second, counters = collector(post, again)
        second.turn()
        assert post.told[-1][1].upto == 1
        assert counters.value("records_total", outcome="repeated") == 1
        assert samples_kept(again) == 3


def test_without_room_nothing_is_acknowledged_until_there_is(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "collector.db", reserve=1 << 62, clock=lambda: NOW)) as full:
        post = FakePost()
        post.give(TOPIC, payload(record(1)))
        one, counters = collector(post, full)
        assert one.turn() == 0
        assert one.trouble is not None
        assert not post.acked
        assert counters.value("waits_total", reason="NoRoom") == 1
        full._reserve = 0
        assert one.turn() == 1
        assert one.trouble is None
        assert post.acked == [1]


def test_a_file_that_another_holds_is_waited_for(store: Store, tmp_path: Path) -> None:
    post, now = FakePost(), [NOW]
    counters = Counters()
    one = Collector(post, store, counters, clock=lambda: now[0])
    store._db.set_busy_timeout(1)
    with closing(apsw.Connection(str(tmp_path / "collector.db"))) as other:
        other.execute("BEGIN IMMEDIATE")
        assert one.turn() == 0
        assert one.trouble is not None
        assert counters.value("waits_total", reason="Unavailable") == 1
    now[0] += LOOK_AGAIN
    one.turn()
    assert one.trouble is None


def test_two_devices_with_one_name_are_noticed(store: Store) -> None:
    post = FakePost()
    one, counters = collector(post, store)
    for seq in (1, 2):
        post.give(TOPIC, payload(record(seq * 10), record(seq * 10 + 5, session="other")))
        one.turn()
    assert counters.value("twins_total") > 0
    assert counters.value("records_total", outcome="fresh") == 4  # and none of the two loses anything


def test_two_boxes_cloned_from_one_disk_are_noticed(store: Store) -> None:
    post = FakePost()
    one, counters = collector(post, store)
    for seq in (1, 2):
        for delay in (0, 4):
            post.give(TOPIC, payload(record(seq, time=NOW + 10 * seq + delay)))
            one.turn()
    assert counters.value("twins_total") == 2


def test_a_second_device_that_was_renamed_is_forgotten_within_the_hour(store: Store) -> None:
    post = FakePost()
    one, counters = collector(post, store)
    for seq in (1, 3):
        post.give(TOPIC, payload(record(seq), record(seq + 1, session="other")))
        one.turn()
    seen = counters.value("twins_total")
    store._clock = lambda: NOW + SPEAKS + 1
    post.give(TOPIC, payload(record(5)))
    one.turn()
    assert counters.value("twins_total") == seen > 0


def test_a_new_disk_is_no_second_device(store: Store) -> None:
    post = FakePost()
    one, counters = collector(post, store)
    post.give(TOPIC, payload(record(1), record(2)))
    one.turn()
    post.give(TOPIC, payload(record(1, session="other", time=NOW + 60), record(2, session="other", time=NOW + 70)))
    one.turn()
    assert counters.value("twins_total") == 0


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(1, 40), max_size=8), max_size=6))
def test_whatever_the_order_and_the_repeats_each_record_is_kept_once(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    with closing(Store(folder / "collector.db", reserve=0, clock=lambda: NOW)) as store:
        post = FakePost()
        one, _ = collector(post, store)
        for batch in batches:
            if batch:
                post.give(TOPIC, payload(*(record(seq) for seq in batch)))
            one.turn()
        said = {seq for batch in batches for seq in batch}
        assert samples_kept(store) == 3 * len(said)
        told = {
            seq for _, ack in post.told for first, last in [(1, ack.upto), *ack.also] for seq in range(first, last + 1)
        }
        assert told == said


def test_many_gaps_are_told_in_several_acknowledgements() -> None:
    spans = [(seq, seq) for seq in range(10, 10 + 2 * (MAX_RANGES + 5), 2)]
    told = acks("life", spans)
    assert [len(ack.also) for ack in told] == [MAX_RANGES, 5]
    assert [span for ack in told for span in ack.also] == spans
