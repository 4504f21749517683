"""The collector's file: made once by whoever is first, bounded, and honest about what it cannot do."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from appliance.errors import BadInput, EnsuenoError
from mqtt.fleet import store as store_module
from mqtt.fleet.store import Reading, Refusal, Store
from tests.mqtt.fleet.services import DEPLOY

_OPEN = "import sys; from pathlib import Path; from mqtt.fleet.store import Store; Store(Path(sys.argv[1]), reserve=0)"


def reading(seq: int, session: str = "life") -> Reading:
    return Reading("box", session, seq, 1000.0 + seq, b"\x0a\x00", 1)


def test_several_collectors_may_make_the_same_new_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _OPEN, str(tmp_path / "collector.db")]
    together = [subprocess.Popen(command, cwd=DEPLOY.parent, stderr=subprocess.PIPE) for _ in range(4)]
    for process in together:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error.decode()


def test_what_one_collector_kept_the_other_knows(tmp_path: Path) -> None:
    path = tmp_path / "collector.db"
    with closing(Store(path, reserve=0)) as one, closing(Store(path, reserve=0)) as other:
        assert one.keep([reading(1)]).fresh == 1
        assert other.keep([reading(1)]).repeated == 1


def test_it_is_as_durable_as_it_says(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "collector.db", reserve=0)) as store:
        assert store._db.pragma("synchronous") == 2
        assert store._db.pragma("journal_mode") == "wal"


def test_very_many_gaps_do_not_grow_the_file_and_lose_nothing(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "collector.db", reserve=0)) as store:
        for start in range(1, 4000, 400):
            store.keep([reading(seq) for seq in range(start, start + 400, 2)])
        ((text,),) = store._db.execute("SELECT ranges FROM seen")
        assert text.count("[") - 1 <= store_module.RANGES_KEPT
        assert (store.missing(), store.known()) == (1999, 2000)  # and none of them is a lie
        assert store.keep([reading(2)]).fresh == 1  # what never came is never taken for a repeat


def test_what_was_sent_is_forgotten_and_what_was_not_stays(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "collector.db", reserve=0)) as store:
        store.keep([reading(1)])
        store.keep([reading(2)])
        first = store.waiting(most=1)
        assert first is not None
        store.sent(first, [Refusal("prometheus", "topic", b"x")])
        assert store.backlog() == 1
        assert [refusal.reason for refusal in store.aside()] == ["prometheus"]


def test_old_sessions_and_old_refusals_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(store_module, "ASIDE_KEPT", 3)
    with closing(Store(tmp_path / "collector.db", reserve=0, clock=lambda: now[0])) as store:
        store.keep([reading(1)], [Refusal("topic", "t", bytes([n])) for n in range(5)])
        store.forget()
        assert [refusal.payload for refusal in store.aside()] == [b"\x02", b"\x03", b"\x04"]
        assert store.devices() == 1
        now[0] += store_module.SESSION_KEPT + 1
        store.forget()
        assert store.devices() == 0


def test_a_file_of_an_older_one_is_taken_over_with_all_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "collector.db"
    with closing(apsw.Connection(str(path))) as db:
        db.execute(store_module._STEPS[0])
        db.pragma("user_version", 1)
        db.execute("INSERT INTO seen VALUES ('box', 'life', '[[1, 2]]', 1001, 1002, 0)")
        db.execute("INSERT INTO spool (series, samples) VALUES (x'0a00', 7)")
    with closing(Store(path, reserve=0)) as store:
        assert store.keep([reading(2), reading(3)]).fresh == 1
        assert (store.known(), store.backlog()) == (3, 8)


def test_the_backlog_is_what_was_kept_and_not_yet_sent(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "collector.db", reserve=0)) as store:
        for seq in range(1, 8):
            store.keep([reading(seq)])
            if seq % 3 == 0 and (spooled := store.waiting(most=1)) is not None:
                store.sent(spooled)
            ((left,),) = store._db.execute("SELECT sum(samples) FROM spool")
            assert store.backlog() == left


def test_a_file_of_a_newer_one_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "collector.db"
    with closing(apsw.Connection(str(path))) as db:
        db.pragma("user_version", len(store_module._STEPS) + 1)
    with pytest.raises(BadInput, match="newer"):
        Store(path)


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    path = tmp_path / "collector.db"
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(EnsuenoError, match="cannot be used"):
        Store(path)
