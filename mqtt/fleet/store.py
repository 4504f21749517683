"""What a collector must not lose: one SQLite file (WAL, `synchronous=FULL`) of what came and what is still to be sent.

    keep ─▶ seen      which sequence numbers of each device and session are durable: repeats are known by it
         ─▶ labelled  which labels each device has series of, so that they are not too many
         ─▶ spool     encoded series that wait for Prometheus, one row a batch      ─forward─▶ Prometheus
         ─▶ aside     what nobody can use, with its reason: the newest ones only, to look at

Several collectors on one machine may share the file. What `keep` returned is on the disk and may be acknowledged.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import apsw

from appliance.errors import BadInput, EnsuenoError, NoRoom, Unavailable
from mqtt.fleet.ranges import Ranges, add, add_range, count, gaps, holding

SAFE_SQLITE = (3, 51, 3)  # below it: the WAL-reset race, sqlite.org/wal.html#walresetbug
RANGES_KEPT = 256  # of one session; what is forgotten is counted as come, and at worst written again, as the same
ASIDE_KEPT = 10_000
SESSION_KEPT = 30 * 86_400.0  # seconds after its last message
SESSIONS, LABELS = 16, 64  # of one device, within that time: more get no series
BOUNDS = ("sessions", "labels")  # the reasons of what is over them
SPEAKS = 3600.0  # seconds after its last message in which a session counts as one that still speaks

_STEPS = (  # how a file comes to the newest version, from empty or from an older one
    """
CREATE TABLE seen (
    device TEXT NOT NULL, session TEXT NOT NULL,
    ranges TEXT NOT NULL,                  -- json [[first, last], ...]
    first REAL, last REAL,                 -- device's time of its earliest and latest record, unix seconds
    touched REAL NOT NULL,                 -- our time
    PRIMARY KEY (device, session)
) STRICT, WITHOUT ROWID;
CREATE TABLE spool (id INTEGER PRIMARY KEY AUTOINCREMENT, series BLOB NOT NULL, samples INTEGER NOT NULL) STRICT;
CREATE TABLE aside (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL, reason TEXT NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL
) STRICT;
""",
    """
ALTER TABLE seen ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;  -- how many numbers came in ranges that are not kept
CREATE TABLE waiting (samples INTEGER NOT NULL) STRICT;            -- one row: the sum over the spool
INSERT INTO waiting SELECT coalesce(sum(samples), 0) FROM spool;
CREATE TABLE labelled (                    -- which labels each device has series of
    device TEXT NOT NULL, mark INTEGER NOT NULL,
    used REAL NOT NULL,                    -- our time, to the day
    PRIMARY KEY (device, mark)
) STRICT, WITHOUT ROWID;
""",
)


_SEEN = "SELECT ranges, first, last, forgotten FROM seen WHERE device = ? AND session = ?"


@dataclass(frozen=True, slots=True)
class Reading:
    """One record that may be acknowledged once it is kept: which numbers of whose session, and its encoded series.

    `also` are numbers that will never come (the device lost them). `time`: the device's unix seconds, None when its
    clock is not to be believed. `labelled` are series more, by a mark of their labels, which the device chose.
    """

    device: str
    session: str
    seq: int
    time: float | None
    series: bytes
    samples: int
    also: Ranges = field(default_factory=list)
    labelled: Sequence[tuple[int, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message, or a part of one, that nobody can use."""

    reason: str
    topic: str
    payload: bytes


@dataclass(slots=True)
class Kept:
    """What one `keep` did. `ranges`: for each device and session, what it may forget; `refusals`: what is too many."""

    fresh: int = 0
    repeated: int = 0
    twins: set[str] = field(default_factory=set)
    ranges: dict[tuple[str, str], Ranges] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Spooled:
    """Encoded series that wait for Prometheus, in the order they came."""

    upto: int
    series: bytes
    samples: int


@dataclass(slots=True)
class _Seen:
    ranges: Ranges = field(default_factory=list)
    first: float | None = None
    last: float | None = None
    forgotten: int = 0


class Store:
    """The collector's file. One object for each thread. Raises `NoRoom`, `Unavailable`, `EnsuenoError`."""

    def __init__(self, path: Path, *, reserve: int = 256 << 20, clock: Callable[[], float] = time.time) -> None:
        if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < SAFE_SQLITE:
            raise EnsuenoError(f"SQLite {apsw.sqlite_lib_version()} can lose commits: install a newer apsw.")
        self._path, self._reserve, self._clock = path, reserve, clock
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{path.parent} cannot be used ({error.strerror}): choose another --data-dir.") from None
        with self._asking():
            self._db = _open(path)

    def close(self) -> None:
        self._db.close()

    def keep(self, readings: Sequence[Reading], refusals: Sequence[Refusal] = ()) -> Kept:
        """Make them durable in one commit; what was seen before is kept once. Raises `NoRoom`: nothing was kept."""
        if shutil.disk_usage(self._path.parent).free < self._reserve:
            raise NoRoom(f"Less than {self._reserve >> 20} MiB are free beside {self._path}: make room on the disk.")
        kept, fresh = Kept(), []
        with self._writing() as db:
            for (device, session), group in _by_session(readings).items():
                fresh += self._take(db, device, session, group, kept)
            kept.fresh, kept.repeated = len(fresh), len(readings) - len(fresh) - len(kept.refusals)
            self._spool(db, fresh, kept)
            self._put_aside(db, [*refusals, *kept.refusals])
        return kept

    def waiting(self, most: int = 1 << 20) -> Spooled | None:
        """The oldest series that wait for Prometheus, about `most` bytes of them; None when there are none."""
        parts: list[bytes] = []
        size = samples = upto = 0
        with self._asking():
            for number, series, count in self._db.execute("SELECT id, series, samples FROM spool ORDER BY id"):
                if parts and size + len(series) > most:
                    break
                parts.append(series)
                size, samples, upto = size + len(series), samples + count, number
        return Spooled(upto, b"".join(parts), samples) if parts else None

    def sent(self, spooled: Spooled, refusals: Sequence[Refusal] = ()) -> None:
        """Forget what Prometheus has; what it refused is put aside."""
        with self._writing() as db:
            db.execute("DELETE FROM spool WHERE id <= ?", (spooled.upto,))
            db.execute("UPDATE waiting SET samples = samples - ?", (spooled.samples,))
            self._put_aside(db, refusals)

    def backlog(self) -> int:
        """How many samples wait for Prometheus."""
        return int(self._one("SELECT samples FROM waiting")[0])

    def devices(self) -> int:
        """How many devices were ever heard (and not forgotten since)."""
        return int(self._one("SELECT count(DISTINCT device) FROM seen")[0])

    def missing(self) -> int:
        """How many sequence numbers have not come, of all devices, though later ones have."""
        rows = "SELECT ranges, forgotten FROM seen"
        with self._asking():
            return sum(max(gaps(_ranges(text)) - forgotten, 0) for text, forgotten in self._db.execute(rows))

    def known(self) -> int:
        """How many sequence numbers came (or were told as lost), of all devices."""
        with self._asking():
            rows = list(self._db.execute("SELECT ranges, forgotten FROM seen"))
        return sum(forgotten + count(_ranges(text)) for text, forgotten in rows)

    def aside(self) -> list[Refusal]:
        """The newest refusals, oldest first."""
        with self._asking():
            return [Refusal(*row) for row in self._db.execute("SELECT reason, topic, payload FROM aside ORDER BY id")]

    def forget(self) -> None:
        """Drop sessions and labels that nobody has used for a month, and refusals beyond the newest ones."""
        with self._writing() as db:
            db.execute("DELETE FROM seen WHERE touched < ?", (self._clock() - SESSION_KEPT,))
            db.execute("DELETE FROM labelled WHERE used < ?", (self._clock() - SESSION_KEPT,))
            db.execute("DELETE FROM aside WHERE id <= (SELECT max(id) FROM aside) - ?", (ASIDE_KEPT,))

    # --- inside ------------------------------------------------------------------------------------------------

    def _take(
        self, db: apsw.Connection, device: str, session: str, group: Sequence[Reading], kept: Kept
    ) -> list[Reading]:
        """Note one session's readings; returns those that are to be written."""
        row = next(db.execute(_SEEN, (device, session)), None)
        seen = _Seen() if row is None else _Seen(_ranges(row[0]), *row[1:])
        fresh = []
        for reading in group:
            if _note(seen, reading):
                fresh.append(reading)
            elif _of_another(seen, reading):
                kept.twins.add(device)
        kept.ranges[device, session] = _told(seen.ranges, group)
        if row is None and _number_of("seen", db, device) >= SESSIONS:
            kept.refusals += [Refusal("sessions", device, reading.series) for reading in fresh]
            return []
        if self._overlaps(db, device, session, seen):
            kept.twins.add(device)
        self._remember(db, device, session, seen)
        return fresh

    def _remember(self, db: apsw.Connection, device: str, session: str, seen: _Seen) -> None:
        if len(seen.ranges) > RANGES_KEPT:
            over = slice(1, len(seen.ranges) - RANGES_KEPT + 1)  # the first says up to where all is there
            seen.forgotten += count(seen.ranges[over])
            del seen.ranges[over]
        db.execute(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)",
            (device, session, json.dumps(seen.ranges), seen.first, seen.last, self._clock(), seen.forgotten),
        )

    def _overlaps(self, db: apsw.Connection, device: str, session: str, seen: _Seen) -> bool:
        """Two sessions of one device never speak in the same stretch of time, unless two devices have one name."""
        asked = (
            "SELECT 1 FROM seen WHERE device = ? AND session <> ? AND first < ? AND last > ? AND touched > ? LIMIT 1"
        )
        values = (device, session, seen.last, seen.first, self._clock() - SPEAKS)
        return next(db.execute(asked, values), None) is not None

    def _spool(self, db: apsw.Connection, fresh: Sequence[Reading], kept: Kept) -> None:
        parts, samples = [reading.series for reading in fresh], sum(reading.samples for reading in fresh)
        admitted: dict[tuple[str, int], bool] = {}
        for reading in fresh:
            for mark, series in reading.labelled:
                whose = reading.device, mark
                if whose not in admitted:
                    admitted[whose] = self._admits(db, *whose)
                if admitted[whose]:
                    parts.append(series)
                    samples += 1
                else:
                    kept.refusals.append(Refusal("labels", reading.device, series))
        if samples:
            db.execute("INSERT INTO spool (series, samples) VALUES (?, ?)", (b"".join(parts), samples))
            db.execute("UPDATE waiting SET samples = samples + ?", (samples,))

    def _admits(self, db: apsw.Connection, device: str, mark: int) -> bool:
        """Whether the device may have a series of these labels: it has one, or few enough of others."""
        now = self._clock()
        row = next(db.execute("SELECT used FROM labelled WHERE device = ? AND mark = ?", (device, mark)), None)
        if row is not None and row[0] > now - 86_400:
            return True
        if row is None and _number_of("labelled", db, device) >= LABELS:
            return False
        db.execute("INSERT OR REPLACE INTO labelled VALUES (?, ?, ?)", (device, mark, now))
        return True

    def _put_aside(self, db: apsw.Connection, refusals: Sequence[Refusal]) -> None:
        now = self._clock()
        db.executemany(
            "INSERT INTO aside (time, reason, topic, payload) VALUES (?, ?, ?, ?)",
            [(now, refusal.reason, refusal.topic, refusal.payload[:4096]) for refusal in refusals],
        )

    def _one(self, sql: str) -> tuple[Any, ...]:
        with self._asking():
            row: tuple[Any, ...] = next(self._db.execute(sql))
        return row

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except apsw.FullError:
            raise NoRoom("The disk is full: make room, then the collector goes on by itself.") from None
        except apsw.BusyError:
            raise Unavailable("The collector's file is busy: it is tried again.") from None
        except apsw.Error as error:
            raise EnsuenoError(f"The file {self._path} cannot be used ({error}): check the disk.") from error

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        with self._asking():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:  # a full disk may have rolled back already
                    self._db.execute("ROLLBACK")


def _open(path: Path) -> apsw.Connection:
    db = apsw.Connection(str(path))
    db.set_busy_timeout(10_000)
    _write_ahead(db)
    db.pragma("synchronous", "FULL")
    if db.pragma("synchronous") != 2 or db.pragma("journal_mode") != "wal":
        raise EnsuenoError(f"SQLite refused WAL with synchronous=FULL on {path}: put the data dir on a local disk.")
    db.execute("BEGIN IMMEDIATE")  # before the version is read: another collector may be making the tables now
    version = db.pragma("user_version")
    for step in _STEPS[version:]:
        db.execute(step)
    if version < len(_STEPS):
        db.pragma("user_version", len(_STEPS))
    db.execute("COMMIT")
    if version > len(_STEPS):
        raise BadInput(f"{path} was written by a newer Ensueño: install that one, or choose another --data-dir.")
    return db


def _write_ahead(db: apsw.Connection) -> None:
    """Ask for WAL; SQLite does not wait by itself while another process turns the same new file over to it."""
    for _ in range(100):
        try:
            db.pragma("journal_mode", "wal")
            return
        except apsw.BusyError:
            time.sleep(0.05)


def _number_of(table: Literal["seen", "labelled"], db: apsw.Connection, device: str) -> int:
    found: int = next(db.execute(f"SELECT count(*) FROM {table} WHERE device = ?", (device,)))[0]  # noqa: S608
    return found


def _by_session(readings: Sequence[Reading]) -> dict[tuple[str, str], list[Reading]]:
    groups: dict[tuple[str, str], list[Reading]] = {}
    for reading in readings:
        groups.setdefault((reading.device, reading.session), []).append(reading)
    return groups


def _note(seen: _Seen, reading: Reading) -> bool:
    if not add(seen.ranges, reading.seq):
        return False
    for first, last in reading.also:
        add_range(seen.ranges, first, last)
    if reading.time is not None:
        seen.first = reading.time if seen.first is None else min(seen.first, reading.time)
        seen.last = reading.time if seen.last is None else max(seen.last, reading.time)
    return True


def _of_another(seen: _Seen, reading: Reading) -> bool:
    """A repeat is never newer than all that came: this one is of another device, cloned with its outbox."""
    return reading.time is not None and seen.last is not None and reading.time > seen.last


def _told(ranges: Ranges, group: Sequence[Reading]) -> Ranges:
    """What to acknowledge: all from 1 on without a gap, and the ranges that this batch fell into."""
    touched = {holding(ranges, reading.seq) for reading in group}
    return sorted(touched | {ranges[0]} if ranges[0][0] == 1 else touched)


def _ranges(text: str) -> Ranges:
    return [(first, last) for first, last in json.loads(text)]
