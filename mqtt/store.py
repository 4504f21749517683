"""The link's own file on the disk, `link.db`: SQLite as strict as the journal's, and the numbers that outlive it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from appliance.errors import EnsuenoError, NoRoom, Unavailable
from appliance.ids import new_id

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS askers (
    job TEXT PRIMARY KEY,
    pool TEXT,                             -- the pool it came by
    epoch INTEGER,                         -- of our claim
    response_topic TEXT, correlation BLOB, -- of who asked last
    told INTEGER NOT NULL DEFAULT 0,       -- the broker has the end
    asked REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS askers_untold ON askers (told, asked);
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    priority INTEGER NOT NULL,
    size INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_cheapest ON outbox (priority, seq);
CREATE TABLE IF NOT EXISTS lost (first INTEGER PRIMARY KEY, last INTEGER NOT NULL) STRICT; -- not yet reported
CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, expires REAL NOT NULL, result TEXT NOT NULL) STRICT;
"""


class Store:
    """Opens (or makes) the file. One thread, one process: the link holds a lock on its data dir."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._translated():
            self.db = apsw.Connection(str(path))
            self.db.set_busy_timeout(10_000)
            self.db.pragma("journal_mode", "wal")
            self.db.pragma("synchronous", "FULL")
            if self.db.pragma("synchronous") != 2:
                raise EnsuenoError("SQLite refused synchronous=FULL: what is to be told would not be safe.")
            self.db.execute(_SCHEMA)
        self.boot = str(self.fact("boot") or self.remember("boot", new_id()))

    @contextmanager
    def write(self) -> Iterator[apsw.Connection]:
        """One transaction, on the disk when it ends. Raises `NoRoom`, `Unavailable`, `EnsuenoError`."""
        with self._translated():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
                self.db.execute("COMMIT")
            finally:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")

    def fact(self, name: str) -> str | int | None:
        """A number or a word kept under a name."""
        row = next(self.db.execute("SELECT value FROM facts WHERE name = ?", (name,)), None)
        return None if row is None else row[0]

    def remember(self, name: str, value: str | int) -> str | int:
        """Keep it; returns it."""
        with self.write() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
        return value

    def count(self, name: str) -> int:
        """One more of these, for ever; returns how many there have been."""
        with self.write() as db:
            sql = "INSERT INTO facts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
            return int(next(iter(db.execute(sql, (name,))))[0])

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except apsw.FullError:
            raise NoRoom("The disk is full: make room, then try again.") from None
        except apsw.BusyError:
            raise Unavailable("The link's file is busy: try again in a moment.") from None
        except apsw.Error as error:
            raise EnsuenoError(f"The link's file {self._path} cannot be used ({error}): check the disk.") from error
