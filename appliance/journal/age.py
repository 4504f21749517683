"""The box's own age: the seconds that it was on, which no clock setting makes older."""

from __future__ import annotations

from collections.abc import Callable

from appliance.journal.database import Connection, Database, first

_EVERY = 600.0  # seconds


class Age:
    """Counts by the seconds since boot (`uptime`), of each boot as far as it was written down."""

    def __init__(self, database: Database, uptime: Callable[[], float], boot: str) -> None:
        self._database = database
        self._uptime = uptime
        self._boot = boot

    def lived(self, db: Connection) -> float:
        """How long the box has lived, in seconds."""
        row = first(db, "SELECT boot, seen, lived FROM life")
        if row is None:
            return 0.0
        boot, seen, lived = row
        return float(lived) + self._uptime() - (seen if boot == self._boot else 0.0)

    def keep(self) -> None:
        """Write it down when that was not done for a while; a power cut costs no more than that."""
        with self._database.read() as db:
            row = first(db, "SELECT boot, seen FROM life")
        if row is None or row[0] != self._boot or self._uptime() - row[1] >= _EVERY:
            self._write()

    def _write(self) -> None:
        with self._database.write("live") as db:
            lived = self.lived(db)
            db.execute("DELETE FROM life")
            db.execute("INSERT INTO life VALUES (?, ?, ?)", (self._boot, self._uptime(), lived))
