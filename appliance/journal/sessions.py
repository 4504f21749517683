"""Which engine is the one: the session that may claim and end jobs, and the boot in which it began."""

from __future__ import annotations

from appliance.errors import LeaseLost
from appliance.journal.database import Connection, first


def replace(db: Connection, session: str, boot: str, now: float) -> None:
    """From now on this session is the one."""
    db.execute("DELETE FROM sessions")
    db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (session, boot, now))


def since_boot(db: Connection, boot: str) -> bool:
    """Whether the one so far began in this boot: if it is gone it died, and the power stayed."""
    return first(db, "SELECT 1 FROM sessions WHERE boot = ?", (boot,)) is not None


def require(db: Connection, session: str) -> None:
    """Raises `LeaseLost` when this session is no longer the one."""
    if first(db, "SELECT 1 FROM sessions WHERE id = ?", (session,)) is None:
        raise LeaseLost("A newer engine has taken over: this one must stop.")
