"""What is to be told and was not yet acknowledged, on the disk. Only the collector's own word deletes.

Records are numbered without a gap for the life of the file. When the quota is full, the oldest of the lowest priority
goes; which numbers went is kept exactly, and told in a record of its own (`lost`) before anything else would be missed.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mqtt.messages import MAX_RANGES, VERSION, Ack
from mqtt.store import Store

QUOTA = 64 << 20  # bytes
OVERHEAD = 64  # of a row in the file, roughly
DETAIL, SAMPLE, EVENT, LOST = range(4)  # priorities: which goes first when the outbox is full


class Outbox:
    """Every change is on the disk when the call returns. Sizes are of the rows, in bytes."""

    def __init__(self, store: Store, device: str, quota: int = QUOTA, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._device = device
        self._quota = quota
        self._clock = clock
        self.session = store.boot
        self.size = self._one("SELECT coalesce(sum(size), 0) FROM outbox")

    def add(
        self,
        kind: str,
        samples: Mapping[str, float],
        labels: Mapping[str, str],
        priority: int = SAMPLE,
    ) -> int:
        """Put a record in, making room where needed; returns its number. Raises `NoRoom`: then nothing has changed."""
        body = {"time": round(self._clock(), 3), "kind": kind, "samples": dict(samples), "labels": dict(labels)}
        with self._store.write() as db:
            seq, size = self._insert(db, body, priority)
            freed = self._make_room(db, self.size + size - self._quota, seq)
        self.size += size - freed
        return seq

    def report_lost(self) -> None:
        """Put what was lost since the last report in as records: called when they can be sent, so that few are made."""
        now = self._clock()
        while ranges := self._ranges(MAX_RANGES):
            now += 0.001  # two at one time would be one sample to Prometheus
            body = {"time": round(now, 3), "kind": "lost", "lost": ranges, "count": _count(ranges)}
            with self._store.write() as db:
                _, size = self._insert(db, body, LOST)
                db.executemany("DELETE FROM lost WHERE first = ?", [(first,) for first, _ in ranges])
            self.size += size

    def settle(self, ack: Ack) -> int:
        """Delete what the collector has; returns how many. An ack for another outbox is none of ours."""
        if ack.session != self.session:
            return 0
        gone = freed = 0
        with self._store.write() as db:
            for first, last in [(1, ack.upto), *ack.also]:
                within = "seq BETWEEN ? AND ?"
                row = next(iter(db.execute(f"SELECT count(*), sum(size) FROM outbox WHERE {within}", (first, last))))  # noqa: S608
                gone, freed = gone + row[0], freed + (row[1] or 0)
                db.execute(f"DELETE FROM outbox WHERE {within}", (first, last))  # noqa: S608
        self.size -= freed
        return gone

    def between(self, after: int, before: int, most_bytes: int) -> list[tuple[int, bytes]]:
        """Records with after < seq < before, oldest first, as much as fits: their numbers and their json."""
        found: list[tuple[int, bytes]] = []
        room = most_bytes
        sql = "SELECT seq, priority, payload FROM outbox WHERE seq > ? AND seq < ? ORDER BY seq"
        for seq, priority, payload in self._store.db.execute(sql, (after, before)):
            record = self._record(seq, priority, payload)
            room -= len(record) + 1
            if room < 0 and found:
                break
            found.append((seq, record))
        return found

    @property
    def next_seq(self) -> int:
        """The number that the next record will have."""
        return 1 + self._one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'")

    @property
    def oldest(self) -> int | None:
        """The lowest number that nobody acknowledged."""
        return self._one("SELECT coalesce(min(seq), 0) FROM outbox") or None

    @property
    def records(self) -> int:
        return self._one("SELECT count(*) FROM outbox")

    @property
    def lost(self) -> int:
        """Records that went and are not reported yet."""
        return self._one("SELECT coalesce(sum(last - first + 1), 0) FROM lost")

    # --- inside ----------------------------------------------------------------------------------------------------

    def _insert(self, db: Any, body: Mapping[str, Any], priority: int) -> tuple[int, int]:
        text = json.dumps({name: value for name, value in body.items() if value != {}}, allow_nan=False)
        payload = zlib.compress(text.encode())  # plain, a long record would have a page of the file to itself
        size = len(payload) + OVERHEAD
        db.execute("INSERT INTO outbox (priority, size, payload) VALUES (?, ?, ?)", (priority, size, payload))
        return int(db.last_insert_rowid()), size

    def _make_room(self, db: Any, too_much: int, newest: int) -> int:
        freed = 0
        cheapest = "SELECT seq, size, priority, payload FROM outbox WHERE seq != ? ORDER BY priority, seq LIMIT 1"
        while freed < too_much:
            row = next(iter(db.execute(cheapest, (newest,))), None)
            if row is None:
                break
            seq, size, priority, payload = row
            db.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
            self._note_lost(db, seq, seq)
            if priority == LOST:  # its news must not go with it
                for first, last in json.loads(_plain(payload))["lost"]:
                    self._note_lost(db, first, last)
            freed += size
        return freed

    def _note_lost(self, db: Any, first: int, last: int) -> None:
        """Add a range, joined with its neighbours."""
        before = next(iter(db.execute("SELECT first FROM lost WHERE last = ?", (first - 1,))), None)
        after = next(iter(db.execute("SELECT last FROM lost WHERE first = ?", (last + 1,))), None)
        db.execute("DELETE FROM lost WHERE last = ? OR first = ?", (first - 1, last + 1))
        whole = (before[0] if before else first, after[0] if after else last)
        db.execute("INSERT OR REPLACE INTO lost VALUES (?, ?)", whole)

    def _ranges(self, most: int) -> list[tuple[int, int]]:
        return list(self._store.db.execute("SELECT first, last FROM lost ORDER BY first LIMIT ?", (most,)))

    def _record(self, seq: int, priority: int, payload: bytes) -> bytes:
        head = {"v": VERSION, "device": self._device, "session": self.session, "seq": seq, "priority": priority}
        return json.dumps(head)[:-1].encode() + b", " + _plain(payload)[1:]

    def _one(self, sql: str) -> int:
        return int(next(iter(self._store.db.execute(sql)))[0])


def _plain(payload: bytes) -> bytes:
    """A record's json; records of earlier releases are not packed."""
    return payload if payload.startswith(b"{") else zlib.decompress(payload)


def _count(ranges: Iterable[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)
