"""The negative controls: a journal that promises before it keeps, and a box that asks no disk to keep anything."""

from __future__ import annotations

import os
import threading
from typing import Any

from appliance.ids import new_id
from appliance.job import Job, JobState, timestamp
from appliance.journal import Journal, moves
from appliance.journal.database import Connection
from appliance.request import GenerationRequest

_LATER = 0.25  # seconds


def promise_too_early() -> None:
    """From now on `submit` answers at once and commits a moment later, as a box with durability switched off."""
    Journal.submit = _submit  # type: ignore[assignment,method-assign]


_submit_for_real = Journal.submit


def _submit(journal: Journal, request: GenerationRequest, *, job_id: str | None = None, **more: Any) -> Any:
    job_id = job_id or new_id()
    fixed = request.with_seed()
    threading.Timer(_LATER, lambda: _submit_for_real(journal, fixed, job_id=job_id, **more)).start()
    return Job(id=job_id, state=JobState.QUEUED, request=fixed, created=timestamp(0.0), position=1), True


def trust_the_clock() -> None:
    """From now on jobs expire by the clock, however it is set."""
    moves.expire = _expire


def _expire(db: Connection, now: float, uptime: float, boot: str) -> None:
    db.execute("UPDATE jobs SET state = 'expired', ended = ? WHERE state = 'queued' AND deadline <= ?", (now, now))


def sync_nothing(*journals: Journal) -> None:
    """From now on this process syncs nothing: neither these journals (in this thread) nor the picture store."""
    for journal in journals:
        journal.database.connection.pragma("synchronous", "OFF")
    os.fsync = lambda _: None  # type: ignore[assignment]
