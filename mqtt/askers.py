"""Who asked for which job and where its answers go: on the disk, so that a link that was killed still tells the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mqtt.store import Store

KEPT = 10_000  # askers whose end is told; older ones are forgotten, and a job asked for again is looked up anew


@dataclass(frozen=True, slots=True)
class Asker:
    """The last one to ask for a job: `response_topic` and `correlation` as MQTT gave them."""

    job: str
    response_topic: str | None = None
    correlation: bytes | None = None
    pool: str | None = None
    epoch: int | None = None


class Askers:
    """The book of askers. Every change is on the disk when the call returns."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def note(self, asker: Asker) -> None:
        """Somebody asks for a job (again): its end is to be told to this one, though it was told before."""
        values = (asker.job, asker.pool, asker.epoch, asker.response_topic, asker.correlation, self._clock())
        with self._store.write() as db:
            db.execute(
                "INSERT INTO askers (job, pool, epoch, response_topic, correlation, asked) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (job) DO UPDATE SET told = 0, asked = excluded.asked,"
                " pool = coalesce(excluded.pool, pool), epoch = coalesce(excluded.epoch, epoch),"
                " response_topic = coalesce(excluded.response_topic, response_topic),"
                " correlation = coalesce(excluded.correlation, correlation)",
                values,
            )

    def forget_old(self) -> None:
        """Keep the newest `KEPT` of those that were told."""
        with self._store.write() as db:
            db.execute(
                "DELETE FROM askers WHERE told = 1 AND job IN"
                " (SELECT job FROM askers WHERE told = 1 ORDER BY asked DESC LIMIT -1 OFFSET ?)",
                (KEPT,),
            )

    def of(self, job_id: str) -> Asker | None:
        return next((_asker(row) for row in self._rows("job = ?", job_id)), None)

    def waiting(self) -> list[Asker]:
        """Those whose job's end the broker does not have yet."""
        return [_asker(row) for row in self._rows("told = 0")]

    def drop(self, job_id: str) -> None:
        """Its end is not ours to tell."""
        with self._store.write() as db:
            db.execute("DELETE FROM askers WHERE job = ?", (job_id,))

    def lately_told(self, pool: str, within: float, most: int) -> list[Asker]:
        """Whose end was told for a job of this pool in the last seconds, the newest first."""
        where = "told = 1 AND pool = ? AND asked > ?"
        return [_asker(row) for row in self._rows(where, pool, self._clock() - within)][: -most - 1 : -1]

    def told(self, job_id: str) -> None:
        with self._store.write() as db:
            db.execute("UPDATE askers SET told = 1 WHERE job = ?", (job_id,))

    def _rows(self, where: str, *values: Any) -> list[Any]:
        sql = f"SELECT job, response_topic, correlation, pool, epoch FROM askers WHERE {where} ORDER BY asked"  # noqa: S608
        return list(self._store.db.execute(sql, values))


def _asker(row: Any) -> Asker:
    return Asker(*row)
