"""The job journal: one SQLite file, the single truth of what was accepted and how it ended.

A job is accepted once `submit` returns: its commit is on the disk (`synchronous=FULL`). From then on it has exactly
one end. Any number of processes may share the file; every write of an engine carries its session, so an engine that
lost its jobs to a newer one can no longer end them (`LeaseLost`).

    journal ──▶ gallery ──▶ age ──▶ database        they begin the transactions
       │           └──▶ rows                         what a row is to the doors
       └──▶ moves, sessions, limits, rows, schema    steps within one, given its connection

`moves` draws a job's states; `gallery` has the pictures of those that finished, `age` how long the box has lived,
`sessions` which engine is the one, `limits` what the owner allows, `schema` the tables.
"""

from __future__ import annotations

from appliance.journal.database import sqlite_version
from appliance.journal.journal import Journal
from appliance.journal.moves import Claimed

__all__ = ["Claimed", "Journal", "sqlite_version"]
