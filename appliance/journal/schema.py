"""The journal's tables, and how a file of an earlier release gets what was added since."""

from __future__ import annotations

from pathlib import Path

from appliance.errors import EnsuenoError
from appliance.journal.database import Connection

TABLES = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,                  -- of the request as asked, before the seed was fixed
    request TEXT NOT NULL,                 -- json, seed fixed
    images TEXT NOT NULL,                  -- json list of the image ids allotted at submit
    origin TEXT NOT NULL,
    state TEXT NOT NULL,
    deadline REAL,                         -- unix seconds; not begun by then: expired (after a reboot)
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
_VERSION = 1
# Added since, one by one to a journal that lacks them: a release before this one does not mind, so it may come back.
_ADDED = {
    "jobs": {
        "asker": "TEXT",  # the key of who asked over the network (people/access.py); else none
        "boot": "TEXT",  # in which it was accepted,
        "deadline_up": "REAL",  # and its deadline in that boot's own seconds, which no clock setting moves
        "head_start": "INTEGER NOT NULL DEFAULT 0",  # places in the queue, by its priority
    },
    "images": {
        "favourite": "INTEGER NOT NULL DEFAULT 0",
        "lived": "REAL",  # the box's own age when it was drawn: see age.py
        "blurred": "INTEGER NOT NULL DEFAULT 0",  # by the picture check
    },
}
_MORE = """
CREATE INDEX IF NOT EXISTS jobs_by_turn ON jobs (state, seq - head_start, seq);
CREATE INDEX IF NOT EXISTS jobs_by_asker ON jobs (asker);
CREATE INDEX IF NOT EXISTS images_by_job ON images (job);
CREATE TABLE IF NOT EXISTS life (boot TEXT NOT NULL, seen REAL NOT NULL, lived REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS limits (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT; -- the owner's
"""


def prepare(db: Connection, path: Path) -> None:
    """Make the tables, or add what they lack. Raises `EnsuenoError` when a newer release wrote the file."""
    version = db.pragma("user_version")
    if version == 0:
        db.execute(TABLES)
    elif version != _VERSION:
        raise EnsuenoError(f"{path} was written by a newer Ensueño: upgrade this one.")
    for table, columns in _ADDED.items():
        there = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        for name in columns.keys() - there:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {columns[name]}")
    db.execute(_MORE)
