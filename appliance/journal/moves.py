"""Every change of a job's state, and nothing else changes it. Each is a step within a transaction of the journal.

queued ──take──▶ running ──end──▶ finished | failed | cancelled
   │ ◀─give_back, settle─┘
   └──▶ cancelled (cancel) | expired (expire)
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from appliance.errors import LeaseLost
from appliance.job import JobState
from appliance.journal.database import Connection, first, one

DEATHS_ALLOWED = 2
NEXT = "SELECT id, request, images, alone FROM jobs WHERE state = 'queued' ORDER BY seq - head_start, seq LIMIT 1"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job in an engine's hands: the request's json is validated again by the engine, never trusted."""

    id: str
    request: str
    images: tuple[str, ...]
    alone: bool


def expire(db: Connection, now: float, uptime: float, boot: str) -> None:
    """By the seconds since boot while it is the same one: a clock that is set meanwhile lets nothing expire."""
    db.execute(
        "UPDATE jobs SET state = 'expired', ended = ? WHERE state = 'queued'"
        " AND CASE WHEN boot = ? AND deadline_up IS NOT NULL THEN deadline_up <= ? ELSE deadline <= ? END",
        (now, boot, uptime, now),
    )


def cancel(db: Connection, job_id: str, now: float) -> None:
    """End it when it is queued, ask it to stop when it runs."""
    db.execute("UPDATE jobs SET state = 'cancelled', ended = ? WHERE id = ? AND state = 'queued'", (now, job_id))
    db.execute("UPDATE jobs SET cancel = 1 WHERE id = ? AND state = 'running'", (job_id,))


def take(db: Connection, session: str) -> Claimed | None:
    """Give this session the job whose turn it is; None when there is none or it must wait to be alone."""
    row = first(db, NEXT)
    if row is None:
        return None
    job_id, request, images, alone = row
    running = [held[0] for held in db.execute("SELECT alone FROM jobs WHERE state = 'running'")]
    if running and (alone or any(running)):
        return None
    db.execute("UPDATE jobs SET state = 'running', session = ? WHERE id = ?", (session, job_id))
    return Claimed(job_id, request, tuple(json.loads(images)), bool(alone))


def end(db: Connection, session: str, job_id: str, state: JobState, now: float) -> None:
    """End what this session holds. Raises `LeaseLost` when it does not."""
    db.execute(
        "UPDATE jobs SET state = ?, ended = ?, session = NULL WHERE id = ? AND state = 'running' AND session = ?",
        (state.value, now, job_id, session),
    )
    if db.changes() != 1:
        raise LeaseLost(f"The job {job_id} is no longer held by this engine.")


def give_back(db: Connection, session: str, now: float) -> None:
    """Everything that this session holds, but for what was asked to stop."""
    db.execute(
        "UPDATE jobs SET state = 'cancelled', ended = ?, session = NULL"
        " WHERE state = 'running' AND session = ? AND cancel = 1",
        (now, session),
    )
    db.execute("UPDATE jobs SET state = 'queued', session = NULL WHERE state = 'running' AND session = ?", (session,))


def charge(db: Connection) -> None:
    """Their engine died: one death for a job that ran alone; several that ran together are each tried alone."""
    running = one(db, "SELECT count(*) FROM jobs WHERE state = 'running'")[0]
    db.execute(
        "UPDATE jobs SET deaths = deaths + ?, alone = max(alone, ?) WHERE state = 'running'",
        (running == 1, running > 1),
    )


def settle(db: Connection, now: float) -> None:
    """What an engine that is gone left running: cancelled if asked to stop, failed if it killed twice, else queued."""
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
