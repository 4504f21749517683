"""The journal's file: a connection for each thread, and transactions that are on the disk when they are left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from appliance import failpoints
from appliance.errors import EnsuenoError, NoRoom, Unavailable

SAFE_SQLITE = (3, 51, 3)  # below it: the WAL-reset race, sqlite.org/wal.html#walresetbug

Connection = apsw.Connection


class Database:
    """The file at `path`, made with its folder when it is not there. Safe to use from many threads and processes: each
    thread has its own connection, opened at its first call. Raises `EnsuenoError` when this SQLite can lose commits.

    Within `read` and `write` SQLite's errors become ours: `NoRoom`, `Unavailable` (busy), else `EnsuenoError`.
    """

    def __init__(self, path: Path) -> None:
        if _version(sqlite_version()) < SAFE_SQLITE:
            raise EnsuenoError(f"SQLite {sqlite_version()} can lose commits; install apsw 3.51.3 or newer.")
        self.path = path
        self._threads = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def connection(self) -> Connection:
        """This thread's. Raises `EnsuenoError` when the file cannot be kept safe, else SQLite's own errors."""
        db: Connection | None = getattr(self._threads, "db", None)
        if db is None:
            db = Connection(str(self.path))
            db.set_busy_timeout(10_000)
            if _write_ahead(db) != "wal":
                raise EnsuenoError(f"{self.path} cannot use a write-ahead log: put the data dir on a local disk.")
            db.pragma("synchronous", "FULL")
            db.pragma("foreign_keys", True)
            if db.pragma("synchronous") != 2:
                raise EnsuenoError("SQLite refused synchronous=FULL: accepted jobs would not be safe.")
            self._threads.db = db
        return db

    def close(self) -> None:
        """Close this thread's connection; the next call opens another."""
        db = vars(self._threads).pop("db", None)
        if db is not None:
            db.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Each statement sees what is committed then."""
        try:
            yield self.connection
        except apsw.FullError:
            raise NoRoom("The disk is full: make room, then try again.") from None
        except apsw.BusyError:
            raise Unavailable("The journal is busy: try again in a moment.") from None
        except apsw.Error as error:
            raise EnsuenoError(f"The journal {self.path} cannot be used ({error}): check the disk.") from error

    @contextmanager
    def write(self, name: str) -> Iterator[Connection]:
        """One transaction, durable when the block is left; `name` is that of its failpoints."""
        with self.read() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                failpoints.reached(f"{name}.uncommitted")
                db.execute("COMMIT")
                failpoints.reached(f"{name}.committed")
            finally:
                if db.in_transaction:  # a full disk may have rolled back already
                    db.execute("ROLLBACK")


def first(db: Connection, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
    """The first row, if there is one."""
    row: tuple[Any, ...] | None = next(db.execute(sql, values), None)
    return row


def one(db: Connection, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The first row of a question that always has one."""
    row: tuple[Any, ...] = next(db.execute(sql, values))
    return row


def sqlite_version() -> str:
    """The SQLite that the journal uses."""
    return str(apsw.sqlite_lib_version())


def _write_ahead(db: Connection) -> Any:
    """Ask for WAL; SQLite does not wait by itself while another process turns the same new file over to it."""
    for _ in range(100):
        try:
            return db.pragma("journal_mode", "wal")
        except apsw.BusyError:
            time.sleep(0.05)
    return db.pragma("journal_mode", "wal")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
