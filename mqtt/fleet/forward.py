"""From the spool to Prometheus, oldest first, by one collector of those that share a store."""

from __future__ import annotations

import threading
from pathlib import Path

from appliance.errors import EnsuenoError, Unavailable
from appliance.lock import only_one
from mqtt.fleet.counters import Counters
from mqtt.fleet.remote_write import Prometheus, Refused, split, time_of
from mqtt.fleet.store import Refusal, Spooled, Store

PAUSE = (0.5, 30.0)  # seconds: when there is nothing to send; at most, while Prometheus cannot be reached


class Forwarder:
    """One turn sends one request and forgets it. A sample that Prometheus refuses is found, counted and put aside.

    `trouble`: why nothing can be sent now, in a sentence.
    """

    def __init__(self, store: Store, prometheus: Prometheus, counters: Counters) -> None:
        self._store, self._prometheus, self._counters = store, prometheus, counters
        self._pause = PAUSE[0]
        self.trouble: str | None = None

    def turn(self) -> float:
        """Send what waits longest; returns how many seconds to pause before the next turn."""
        try:
            self._counters.backlog.set(self._store.backlog())
            spooled = self._store.waiting()
            if spooled is not None:
                self._send(spooled)
        except EnsuenoError as error:
            self.trouble = str(error)
            self._counters.waits.labels(type(error).__name__).inc()
            self._pause = min(self._pause * 2, PAUSE[1])
            return self._pause
        self.trouble, self._pause = None, PAUSE[0]
        return 0.0 if spooled is not None else PAUSE[0]

    def _send(self, spooled: Spooled) -> None:
        refused = self._refused(spooled.series) is not None
        refusals = self._sorted_out(sorted(split(spooled.series), key=time_of)) if refused else []
        self._store.sent(spooled, refusals)
        self._counters.written.inc(spooled.samples - len(refusals))
        self._counters.refused(refusals)

    def _sorted_out(self, series: list[bytes]) -> list[Refusal]:
        """Prometheus takes a request as a whole or not at all: halve it until the bad sample is alone.

        `series` are in the order of their time: where the newest is too old, all are.
        """
        problem = self._refused(b"".join(series))
        if problem is None:
            return []
        if len(series) > 1:
            problem = self._refused(series[-1])
            if problem is None or not problem.of_age:
                middle = len(series) // 2
                return self._sorted_out(series[:middle]) + self._sorted_out(series[middle:])
        return [Refusal("prometheus", str(problem)[:200], one) for one in series]

    def _refused(self, request: bytes) -> Refused | None:
        try:
            self._prometheus.write(request)
        except Refused as error:
            return error
        return None


def run(forwarder: Forwarder, lock: Path, stop: threading.Event) -> None:
    """Send until told to stop. Where several collectors share the folder, the others wait here for their turn."""
    while not stop.is_set():
        try:
            with only_one(lock, "Another collector"):
                while not stop.wait(forwarder.turn()):
                    pass
        except Unavailable:
            stop.wait(1.0)
        except EnsuenoError as error:
            forwarder.trouble = str(error)
            stop.wait(PAUSE[1])
