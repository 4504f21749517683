"""The job journal: one SQLite file, the single truth of what was accepted and how it ended.

A job is accepted once `submit` returns: its commit is on the disk (`synchronous=FULL`). From then on it has exactly
one end. Any number of processes may share the file; every write of an engine carries its session, so an engine that
lost its jobs to a newer one can no longer end them (`LeaseLost`).

    queued ──claim──▶ running ──▶ finished | failed | cancelled
       │  ◀─release/death─┘
       └──▶ cancelled | expired
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from appliance.errors import BadInput, Conflict, EnsuenoError, LeaseLost, NoRoom, NotFound, QueueFull, Unavailable
from appliance.ids import JOB_ID, boot_id, new_id
from appliance.job import Feedback, Image, Job, JobState, picture_seed, timestamp
from appliance.request import GenerationRequest

SAFE_SQLITE = (3, 51, 3)  # below it: the WAL-reset race, sqlite.org/wal.html#walresetbug
DEATHS_ALLOWED = 2

_SCHEMA = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,                  -- of the request as asked, before the seed was fixed
    request TEXT NOT NULL,                 -- json, seed fixed
    images TEXT NOT NULL,                  -- json list of the image ids allotted at submit
    origin TEXT NOT NULL,
    state TEXT NOT NULL,
    deadline REAL,                         -- unix seconds; not begun by then: expired
    session TEXT,                          -- the engine that holds it
    deaths INTEGER NOT NULL DEFAULT 0,     -- engines that died while it ran alone
    alone INTEGER NOT NULL DEFAULT 0,      -- to be tried alone
    cancel INTEGER NOT NULL DEFAULT 0,     -- asked to stop while running
    engine TEXT, error TEXT, truncated TEXT,
    created REAL NOT NULL, ended REAL
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, seq);
CREATE TABLE images (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL REFERENCES jobs (id),
    prompt TEXT NOT NULL, seed INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    created REAL NOT NULL, feedback TEXT
) STRICT;
CREATE TABLE sessions (id TEXT PRIMARY KEY, boot TEXT NOT NULL, opened REAL NOT NULL) STRICT;
PRAGMA user_version = 1;
"""
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job in an engine's hands: the request's json is validated again by the engine, never trusted."""

    id: str
    request: str
    images: tuple[str, ...]
    alone: bool


class Journal:
    """Opens (or makes) the journal at `path`. Safe to use from many threads and processes: each thread has its own
    connection, opened at its first call, so a process may fork after making a `Journal` but not after using it.

    `queue_limit` bounds the queued jobs (`QueueFull` beyond), `reserve` the bytes kept free on the disk (`NoRoom`).
    """

    def __init__(
        self,
        path: Path,
        *,
        queue_limit: int = 100,
        reserve: int = 64 << 20,
        clock: Callable[[], float] = time.time,
        boot: str | None = None,
    ) -> None:
        if _version(apsw.sqlite_lib_version()) < SAFE_SQLITE:
            raise EnsuenoError(f"SQLite {apsw.sqlite_lib_version()} can lose commits; install apsw 3.51.3 or newer.")
        self._path = path
        self._queue_limit = queue_limit
        self._reserve = reserve
        self._clock = clock
        self._boot = boot or boot_id()
        self._threads = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._write() as db:
            version = db.pragma("user_version")
            if version == 0:
                db.execute(_SCHEMA)
            elif version != _SCHEMA_VERSION:
                raise EnsuenoError(f"{path} was written by a newer Ensueño: upgrade this one.")
        self.close()

    def close(self) -> None:
        """Close this thread's connection; the next call opens another."""
        db = vars(self._threads).pop("db", None)
        if db is not None:
            db.close()

    # --- doors -------------------------------------------------------------------------------------------------

    def submit(
        self,
        request: GenerationRequest,
        *,
        job_id: str | None = None,
        origin: str = "http",
        deadline: float | None = None,
    ) -> tuple[Job, bool]:
        """Accept a job; returns it and whether it is new. On return it is on the disk.

        The same id with the same request gives the job as it stands, with another request `Conflict`. Raises
        `BadInput` (a bad id), `QueueFull`, `NoRoom`.
        """
        job_id = new_id() if job_id is None else job_id
        if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
            raise BadInput(
                "A job id has 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit."
            )
        digest = hashlib.sha256(request.to_json().encode()).hexdigest()
        with self._write() as db:
            known = _first(db, "SELECT digest FROM jobs WHERE id = ?", (job_id,))
            if known is not None:
                if known[0] != digest:
                    raise Conflict(f"The job id {job_id} was used for another request: choose a new id.")
                return self._job(db, job_id), False
            self._check_room(db)
            fixed = request.with_seed()
            images = json.dumps([new_id() for _ in range(request.count)])
            db.execute(
                "INSERT INTO jobs (id, digest, request, images, origin, state, deadline, created)"
                " VALUES (?, ?, ?, ?, ?, 'queued', ?, ?)",
                (job_id, digest, fixed.to_json(), images, origin, deadline, self._clock()),
            )
            return self._job(db, job_id), True

    def job(self, job_id: str) -> Job:
        """The job as it stands. Raises `NotFound`."""
        with self._read() as db:
            return self._job(db, job_id)

    def cancel(self, job_id: str) -> Job:
        """Cancel: at once when queued, between two steps when running; an ended job stays as it ended."""
        with self._write() as db:
            self._job(db, job_id)
            db.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ? WHERE id = ? AND state = 'queued'",
                (self._clock(), job_id),
            )
            db.execute("UPDATE jobs SET cancel = 1 WHERE id = ? AND state = 'running'", (job_id,))
            return self._job(db, job_id)

    def images(self, limit: int = 50, before: str | None = None) -> list[Image]:
        """The newest pictures first; `before` is the id of the last one already seen."""
        older = "" if before is None else " WHERE seq < (SELECT seq FROM images WHERE id = ?)"
        values = (limit,) if before is None else (before, limit)
        with self._read() as db:
            return [_image(row) for row in db.execute(_IMAGES + older + " ORDER BY seq DESC LIMIT ?", values)]

    def image(self, image_id: str) -> Image:
        """One picture. Raises `NotFound`."""
        with self._read() as db:
            row = _first(db, _IMAGES + " WHERE id = ?", (image_id,))
        if row is None:
            raise NotFound("There is no such picture.")
        return _image(row)

    def feedback(self, image_id: str, feedback: Feedback | None) -> Image:
        """Keep a thumb up or down, or take it back with None. Raises `NotFound`."""
        with self._write() as db:
            value = None if feedback is None else feedback.value
            db.execute("UPDATE images SET feedback = ? WHERE id = ?", (value, image_id))
        return self.image(image_id)

    def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        counts = dict.fromkeys(JobState, 0)
        with self._read() as db:
            for state, count in db.execute("SELECT state, count(*) FROM jobs GROUP BY state"):
                counts[JobState(state)] = count
        return counts

    # --- engine ------------------------------------------------------------------------------------------------

    def open_session(self) -> str:
        """Begin an engine's life; returns its session. Takes over what the engine before it left running.

        A job that ran alone when its engine died is charged one death, and fails at the second. Of several that
        ran together nobody is charged, but each is then tried alone. After a reboot (a power cut) nobody is charged.
        The caller holds the engine's file lock, so there is only ever one live session.
        """
        session = new_id()
        with self._write() as db:
            if _first(db, "SELECT 1 FROM sessions WHERE boot = ?", (self._boot,)) is not None:
                running = _one(db, "SELECT count(*) FROM jobs WHERE state = 'running'", ())[0]
                db.execute(
                    "UPDATE jobs SET deaths = deaths + ?, alone = max(alone, ?) WHERE state = 'running'",
                    (running == 1, running > 1),
                )
            self._settle_left_behind(db)
            db.execute("DELETE FROM sessions")
            db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (session, self._boot, self._clock()))
        return session

    def _settle_left_behind(self, db: apsw.Connection) -> None:
        now = self._clock()
        db.execute(
            "UPDATE jobs SET state = 'cancelled', ended = ?, session = NULL WHERE state = 'running' AND cancel = 1",
            (now,),
        )
        db.execute(
            "UPDATE jobs SET state = 'failed', ended = ?, session = NULL, error = ?"
            " WHERE state = 'running' AND deaths >= ?",
            (now, "The engine died twice while drawing this: change the request and try again.", DEATHS_ALLOWED),
        )
        db.execute("UPDATE jobs SET state = 'queued', session = NULL WHERE state = 'running'")

    def claim(self, session: str) -> Claimed | None:
        """Take the oldest queued job, or None when there is none or the next one must wait to be alone."""
        with self._read() as db:
            if _first(db, "SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1", ()) is None:
                return None
        with self._write() as db:
            self._require(db, session)
            self._expire(db)
            row = _first(
                db, "SELECT id, request, images, alone FROM jobs WHERE state = 'queued' ORDER BY seq LIMIT 1", ()
            )
            if row is None:
                return None
            job_id, request, images, alone = row
            running = [held[0] for held in db.execute("SELECT alone FROM jobs WHERE state = 'running'")]
            if running and (alone or any(running)):
                return None
            db.execute("UPDATE jobs SET state = 'running', session = ? WHERE id = ?", (session, job_id))
            return Claimed(job_id, request, tuple(json.loads(images)), bool(alone))

    def cancelled(self, session: str) -> set[str]:
        """The ids of this session's jobs that were asked to stop."""
        asked = "SELECT id FROM jobs WHERE state = 'running' AND session = ? AND cancel = 1"
        with self._read() as db:
            return {row[0] for row in db.execute(asked, (session,))}

    def open_images(self) -> set[str]:
        """The image ids of every job that is still to be drawn."""
        with self._read() as db:
            rows = db.execute("SELECT images FROM jobs WHERE state IN ('queued', 'running')")
            return {image for row in rows for image in json.loads(row[0])}

    def note_truncated(self, session: str, job_id: str, truncated: str) -> None:
        """Keep what the tokenizer had to cut off, so that the answer says it while the job runs."""
        with self._write() as db:
            db.execute(
                "UPDATE jobs SET truncated = ? WHERE id = ? AND state = 'running' AND session = ?",
                (truncated, job_id, session),
            )

    def finish(self, session: str, job_id: str, *, engine: str) -> None:
        """End a job whose pictures are all on the disk. Raises `LeaseLost`."""
        with self._write() as db:
            now = self._clock()
            self._end(db, session, job_id, JobState.FINISHED, now)
            db.execute("UPDATE jobs SET engine = ? WHERE id = ?", (engine, job_id))
            request, images = _one(db, "SELECT request, images FROM jobs WHERE id = ?", (job_id,))
            fields = json.loads(request)
            rows = [
                (image, job_id, fields["prompt"], picture_seed(fields["seed"], index), fields["width"],
                 fields["height"], now)
                for index, image in enumerate(json.loads(images))
            ]  # fmt: skip
            db.executemany(
                "INSERT INTO images (id, job, prompt, seed, width, height, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def fail(self, session: str, job_id: str, error: str) -> None:
        """End a job that cannot be drawn, with the reason in one sentence. Raises `LeaseLost`."""
        with self._write() as db:
            self._end(db, session, job_id, JobState.FAILED, self._clock())
            db.execute("UPDATE jobs SET error = ? WHERE id = ?", (error, job_id))

    def stop(self, session: str, job_id: str) -> None:
        """End a running job that was asked to stop. Raises `LeaseLost`."""
        with self._write() as db:
            self._end(db, session, job_id, JobState.CANCELLED, self._clock())

    def release(self, session: str) -> None:
        """Give back what this session holds (a stop or an upgrade): charged to nobody."""
        with self._write() as db:
            db.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ?, session = NULL"
                " WHERE state = 'running' AND session = ? AND cancel = 1",
                (self._clock(), session),
            )
            db.execute(
                "UPDATE jobs SET state = 'queued', session = NULL WHERE state = 'running' AND session = ?",
                (session,),
            )

    # --- inside ------------------------------------------------------------------------------------------------

    @property
    def _db(self) -> apsw.Connection:
        db: apsw.Connection | None = getattr(self._threads, "db", None)
        if db is None:
            db = apsw.Connection(str(self._path))
            db.set_busy_timeout(10_000)
            if _write_ahead(db) != "wal":
                raise EnsuenoError(f"{self._path} cannot use a write-ahead log: put the data dir on a local disk.")
            db.pragma("synchronous", "FULL")
            db.pragma("foreign_keys", True)
            if db.pragma("synchronous") != 2:
                raise EnsuenoError("SQLite refused synchronous=FULL: accepted jobs would not be safe.")
            self._threads.db = db
        return db

    @contextmanager
    def _read(self) -> Iterator[apsw.Connection]:
        try:
            yield self._db
        except apsw.FullError:
            raise NoRoom("The disk is full: make room, then try again.") from None
        except apsw.BusyError:
            raise Unavailable("The journal is busy: try again in a moment.") from None
        except apsw.Error as error:
            raise EnsuenoError(f"The journal {self._path} cannot be used ({error}): check the disk.") from error

    @contextmanager
    def _write(self) -> Iterator[apsw.Connection]:
        with self._read() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:  # a full disk may have rolled back already
                    db.execute("ROLLBACK")

    def _expire(self, db: apsw.Connection) -> None:
        now = self._clock()
        db.execute("UPDATE jobs SET state = 'expired', ended = ? WHERE state = 'queued' AND deadline <= ?", (now, now))

    def _check_room(self, db: apsw.Connection) -> None:
        if shutil.disk_usage(self._path.parent).free < self._reserve:
            raise NoRoom(f"Less than {self._reserve >> 20} MiB are free: make room on the disk, then try again.")
        self._expire(db)
        waiting = _one(db, "SELECT count(*) FROM jobs WHERE state = 'queued'", ())[0]
        if waiting >= self._queue_limit:
            raise QueueFull(f"The queue is full ({waiting} jobs wait): try again in a moment.")

    def _job(self, db: apsw.Connection, job_id: str) -> Job:
        row = _first(
            db,
            "SELECT id, request, images, origin, state, engine, error, truncated, created, ended,"
            " CASE WHEN state = 'queued' THEN"
            " (SELECT count(*) FROM jobs AS ahead WHERE ahead.state = 'queued' AND ahead.seq <= jobs.seq) END"
            " FROM jobs WHERE id = ?",
            (job_id,),
        )
        if row is None:
            raise NotFound("There is no such job.")
        name, request, images, origin, state, engine, error, truncated, created, ended, place = row
        return Job(
            id=name,
            state=JobState(state),
            request=GenerationRequest.model_validate_json(request),
            images=json.loads(images) if state == JobState.FINISHED.value else [],
            engine=engine,
            error=error,
            truncated=truncated,
            position=place,
            origin=origin,
            created=timestamp(created),
            ended=None if ended is None else timestamp(ended),
        )

    def _require(self, db: apsw.Connection, session: str) -> None:
        if _first(db, "SELECT 1 FROM sessions WHERE id = ?", (session,)) is None:
            raise LeaseLost("A newer engine has taken over: this one must stop.")

    def _end(self, db: apsw.Connection, session: str, job_id: str, state: JobState, now: float) -> None:
        db.execute(
            "UPDATE jobs SET state = ?, ended = ?, session = NULL WHERE id = ? AND state = 'running' AND session = ?",
            (state.value, now, job_id, session),
        )
        if db.changes() != 1:
            raise LeaseLost(f"The job {job_id} is no longer held by this engine.")


_IMAGES = "SELECT id, job, prompt, seed, width, height, created, feedback FROM images"


def _image(row: Sequence[Any]) -> Image:
    image_id, job, prompt, seed, width, height, created, feedback = row
    return Image(
        id=image_id,
        job=job,
        prompt=prompt,
        seed=seed,
        width=width,
        height=height,
        url=f"/v1/images/{image_id}.png",
        created=timestamp(created),
        feedback=None if feedback is None else Feedback(feedback),
    )


def _first(db: apsw.Connection, sql: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = next(db.execute(sql, values), None)
    return row


def _one(db: apsw.Connection, sql: str, values: Sequence[Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] = next(db.execute(sql, values))
    return row


def _write_ahead(db: apsw.Connection) -> Any:
    """Ask for WAL; SQLite does not wait by itself while another process turns the same new file over to it."""
    for _ in range(100):
        try:
            return db.pragma("journal_mode", "wal")
        except apsw.BusyError:
            time.sleep(0.05)
    return db.pragma("journal_mode", "wal")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
