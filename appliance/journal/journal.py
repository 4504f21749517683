"""A job's way: accepted at a door, claimed by an engine, ended once. Each method is one transaction."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from appliance.errors import BadInput, Conflict, NoRoom, QueueFull
from appliance.ids import JOB_ID, boot_id, new_id
from appliance.inputs import InputStore
from appliance.job import Job, JobState, Priority
from appliance.journal import limits as owner
from appliance.journal import moves, rows, schema, sessions
from appliance.journal.age import Age
from appliance.journal.database import Connection, Database, first, one
from appliance.journal.gallery import Gallery
from appliance.journal.moves import Claimed
from appliance.people.share import WHOLE, Share
from appliance.request import GenerationRequest


class Journal:
    """Opens (or makes) the journal at `path`. Safe to use from many threads and processes: each thread has its own
    connection, opened at its first call, so a process may fork after making a `Journal` but not after using it.

    `queue_limit` bounds the queued jobs (`QueueFull` beyond), `reserve` the bytes kept free on the disk (`NoRoom`), and
    `admit` raises `Unavailable` for a new job that the box cannot bear now, `BadInput` for one that its owner does not
    want. The pictures that open jobs start from lie beside it, in `inputs`; the finished ones are in `gallery`.
    """

    def __init__(
        self,
        path: Path,
        *,
        queue_limit: int = 100,
        reserve: int = 64 << 20,
        admit: Callable[[GenerationRequest], None] = lambda request: None,
        clock: Callable[[], float] = time.time,
        uptime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        boot: str | None = None,
    ) -> None:
        self.database = Database(path)
        self._queue_limit = queue_limit
        self._reserve = reserve
        self._admit = admit
        self._clock = clock
        self._uptime = uptime
        self._boot = boot or boot_id()
        self._inputs = InputStore(path.parent / "inputs")
        self.gallery = Gallery(self.database, Age(self.database, uptime, self._boot))
        with self.database.write("open") as db:
            schema.prepare(db, path)
        self.close()

    @property
    def path(self) -> Path:
        """Its file."""
        return self.database.path

    def close(self) -> None:
        """Close this thread's connection; the next call opens another."""
        self.database.close()

    # --- doors -------------------------------------------------------------------------------------------------
    # Where an `asker` is named, what others asked for is not there; None sees everything.

    def submit(
        self,
        request: GenerationRequest,
        *,
        job_id: str | None = None,
        origin: str = "http",
        expires_in: float | None = None,
        priority: Priority = Priority.NORMAL,
        asker: str | None = None,
        share: Share = WHOLE,
    ) -> tuple[Job, bool]:
        """Accept a job; returns it and whether it is new. On return it is on the disk, its pictures too.

        Not begun within `expires_in` seconds, it expires. `share` is how much of the queue is open to the asker.

        The same id with the same request gives the job as it stands, with another request `Conflict`. Raises
        `BadInput` (a bad id), `QueueFull`, `NoRoom`, `Unavailable`.
        """
        job_id = new_id() if job_id is None else job_id
        if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
            raise BadInput(
                "A job id has 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit."
            )
        digest = rows.digest(request)
        with self.database.write("submit") as db:
            known = first(db, "SELECT digest, asker FROM jobs WHERE id = ?", (job_id,))
            if known is not None:
                if known[0] != digest or asker not in (None, known[1]):
                    raise Conflict(f"The job id {job_id} was used for another request: choose a new id.")
                return rows.job(db, job_id), False
            limits = owner.kept(db)
            self._check_room()
            self._check_queue(db, limits.get("queue", self._queue_limit), asker, share)
            owner.check(request, limits)
            self._admit(request)
            fixed = request.with_seed()
            images = json.dumps([new_id() for _ in range(request.count)])
            for picture in request.pictures:
                self._inputs.save(picture)
            db.execute(
                "INSERT INTO jobs"
                " (id, digest, request, images, origin, asker, state, created, boot, deadline, deadline_up, head_start)"
                " VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?)",
                (
                    job_id,
                    digest,
                    fixed.to_json(),
                    images,
                    origin,
                    asker,
                    self._clock(),
                    self._boot,
                    *self._until(expires_in),
                    priority.head_start,
                ),
            )
            return rows.job(db, job_id), True

    def job(self, job_id: str, asker: str | None = None) -> Job:
        """The job as it stands. Raises `NotFound`."""
        with self.database.read() as db:
            return rows.job(db, job_id, asker)

    def cancel(self, job_id: str, asker: str | None = None) -> Job:
        """Cancel: at once when queued, between two steps when running; an ended job stays as it ended."""
        with self.database.write("cancel") as db:
            rows.job(db, job_id, asker)
            moves.cancel(db, job_id, self._clock())
            return rows.job(db, job_id)

    def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        counts = dict.fromkeys(JobState, 0)
        with self.database.read() as db:
            for state, count in db.execute("SELECT state, count(*) FROM jobs GROUP BY state"):
                counts[JobState(state)] = count
        return counts

    def limits(self) -> dict[str, int]:
        """What the owner has limited, by name."""
        with self.database.read() as db:
            return owner.kept(db)

    def limit(self, limits: Mapping[str, int]) -> None:
        """Set the owner's limits; 0 takes one away. They hold for every door from the next job on."""
        with self.database.write("limit") as db:
            owner.keep(db, limits)

    # --- engine ------------------------------------------------------------------------------------------------

    def open_session(self) -> str:
        """Begin an engine's life; returns its session. Takes over what the engine before it left running.

        A job that ran alone when its engine died is charged one death, and fails at the second. Of several that
        ran together nobody is charged, but each is then tried alone. After a reboot (a power cut) nobody is charged.
        The caller holds the engine's file lock, so there is only ever one live session.
        """
        session = new_id()
        with self.database.write("open_session") as db:
            if sessions.since_boot(db, self._boot):
                moves.charge(db)
            moves.settle(db, self._clock())
            sessions.replace(db, session, self._boot, self._clock())
        return session

    def claim(self, session: str) -> Claimed | None:
        """Take the queued job whose turn it is, or None when there is none or it must wait to be alone."""
        with self.database.read() as db:
            if first(db, "SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1") is None:
                return None
        with self.database.write("claim") as db:
            sessions.require(db, session)
            self._expire(db)
            return moves.take(db, session)

    def cancelled(self, session: str) -> set[str]:
        """The ids of this session's jobs that were asked to stop."""
        asked = "SELECT id FROM jobs WHERE state = 'running' AND session = ? AND cancel = 1"
        with self.database.read() as db:
            return {row[0] for row in db.execute(asked, (session,))}

    def input(self, name: str) -> bytes:
        """The plain file of a picture that an open job starts from. Raises `BadInput` when it is not there."""
        return self._inputs.read(name)

    def sweep_inputs(self) -> None:
        """Remove the pictures that no open job needs any more; under the write lock, so none that is being sent."""
        held = self._inputs.names()
        if not held:
            return
        with self.database.read() as db:
            if held <= rows.needed_inputs(db):
                return
        with self.database.write("sweep") as db:
            for name in self._inputs.names() - rows.needed_inputs(db):
                self._inputs.remove(name)

    def note_truncated(self, session: str, job_id: str, truncated: str) -> None:
        """Keep what the tokenizer had to cut off, so that the answer says it while the job runs."""
        with self.database.write("note_truncated") as db:
            db.execute(
                "UPDATE jobs SET truncated = ? WHERE id = ? AND state = 'running' AND session = ?",
                (truncated, job_id, session),
            )

    def finish(self, session: str, job_id: str, *, engine: str, blurred: Collection[str] = ()) -> None:
        """End a job whose pictures are all on the disk, those of the ids `blurred` as such. Raises `LeaseLost`."""
        with self.database.write("finish") as db:
            now = self._clock()
            moves.end(db, session, job_id, JobState.FINISHED, now)
            db.execute("UPDATE jobs SET engine = ? WHERE id = ?", (engine, job_id))
            self.gallery.hang(db, job_id, now, blurred)

    def fail(self, session: str, job_id: str, error: str) -> None:
        """End a job that cannot be drawn, with the reason in one sentence. Raises `LeaseLost`."""
        with self.database.write("fail") as db:
            moves.end(db, session, job_id, JobState.FAILED, self._clock())
            db.execute("UPDATE jobs SET error = ? WHERE id = ?", (error, job_id))

    def stop(self, session: str, job_id: str) -> None:
        """End a running job that was asked to stop. Raises `LeaseLost`."""
        with self.database.write("stop") as db:
            moves.end(db, session, job_id, JobState.CANCELLED, self._clock())

    def release(self, session: str) -> None:
        """Give back what this session holds (a stop or an upgrade): charged to nobody."""
        with self.database.write("release") as db:
            moves.give_back(db, session, self._clock())

    # --- inside ------------------------------------------------------------------------------------------------

    def _until(self, seconds: float | None) -> tuple[float | None, float | None]:
        """The deadline by the clock and by the seconds since boot."""
        return (None, None) if seconds is None else (self._clock() + seconds, self._uptime() + seconds)

    def _expire(self, db: Connection) -> None:
        moves.expire(db, self._clock(), self._uptime(), self._boot)

    def _check_room(self) -> None:
        if shutil.disk_usage(self.path.parent).free < self._reserve:
            raise NoRoom(f"Less than {self._reserve >> 20} MiB are free: make room on the disk, then try again.")

    def _check_queue(self, db: Connection, limit: int, asker: str | None, share: Share) -> None:
        self._expire(db)
        counted = "SELECT count(*), count(*) FILTER (WHERE asker = ?) FROM jobs WHERE state = 'queued'"
        waiting, own = one(db, counted, (asker,))
        if waiting >= limit:
            raise QueueFull(f"The queue is full ({waiting} jobs wait): try again in a moment.")
        if not share.allows(limit, own, waiting):
            raise QueueFull(
                f"Your share of the queue is full ({waiting} jobs wait, {own} of them yours): try again in a moment."
            )
