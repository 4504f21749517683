"""A box that is no longer tormented comes to rest: all who ask are answered, all that was accepted has its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import apsw

from torture.box import Box
from torture.requesters import ENDS, Requesters

PATIENCE = 600.0


def keep_until_rest(box: Box, people: Requesters) -> None:
    """Keep the box until then. Whatever has no end when patience is over is the checker's to find."""
    _keep_while(box, lambda: people.busy)
    _keep_while(box, lambda: waiting(box.data_dir / "journal.db") > 0)


def waiting(journal: Path) -> int:
    """How many jobs have no end yet; read from the journal, since the web may be away."""
    marks = ", ".join("?" * len(ENDS))
    return int(str(_one(journal, f"SELECT count(*) FROM jobs WHERE state NOT IN ({marks})", ENDS)))


def state_of(journal: Path, job_id: str) -> str | None:
    """The job's state, read in the same way."""
    state = _one(journal, "SELECT max(state) FROM jobs WHERE id = ?", (job_id,))
    return None if state is None else str(state)


def _one(journal: Path, question: str, values: tuple[str, ...]) -> str | int | None:
    db = apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(10_000)
        answer: str | int | None = next(db.execute(question, values))[0]
        return answer
    finally:
        db.close()


def _keep_while(box: Box, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while true() and time.monotonic() < deadline:
        box.keep()
        time.sleep(0.1)
