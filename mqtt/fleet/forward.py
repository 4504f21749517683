"""From the spool to Prometheus, oldest first, by one collector of those that share a store."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from appliance.errors import EnsuenoError, Unavailable
from appliance.lock import only_one
from mqtt.fleet.counters import Counters
from mqtt.fleet.remote_write import Prometheus, Refused, split
from mqtt.fleet.store import Refusal, Spooled, Store

PAUSE = (0.5, 30.0)  # seconds: when there is nothing to send; at most, while Prometheus cannot be reached


class Forwarder:
    """One turn sends one request and forgets it. A sample that Prometheus refuses is found, counted and put aside."""

    def __init__(self, store: Store, prometheus: Prometheus, counters: Counters) -> None:
        self._store, self._prometheus, self._counters = store, prometheus, counters
        self._pause = PAUSE[0]

    def turn(self) -> float:
        """Send what waits longest; returns how many seconds to pause before the next turn."""
        try:
            spooled = self._store.waiting()
            if spooled is not None:
                self._send(spooled)
            self._counters.backlog.set(self._store.backlog())
        except EnsuenoError as error:
            self._counters.waits.labels(type(error).__name__).inc()
            self._pause = min(self._pause * 2, PAUSE[1])
            return self._pause
        self._pause = PAUSE[0]
        return 0.0 if spooled is not None else PAUSE[0]

    def _send(self, spooled: Spooled) -> None:
        refusals = self._write(spooled.series)
        self._store.sent(spooled, refusals)
        self._counters.written.inc(spooled.samples - len(refusals))
        self._counters.refused(refusals)

    def _write(self, request: bytes) -> list[Refusal]:
        """Prometheus takes a request as a whole or not at all: halve it until the bad sample is alone."""
        try:
            self._prometheus.write(request)
        except Refused as error:
            parts = list(split(request))
            if len(parts) == 1:
                return [Refusal("prometheus", str(error)[:200], request)]
            middle = len(parts) // 2
            return self._write(b"".join(parts[:middle])) + self._write(b"".join(parts[middle:]))
        return []


def run(data_dir: Path, url: str, counters: Counters, stop: threading.Event) -> None:
    """Send until told to stop. Where several collectors share the folder, the others wait here for their turn."""
    while not stop.is_set():
        try:
            with (
                only_one(data_dir / "forward.lock", "Another collector"),
                closing(Store(data_dir / "collector.db", reserve=0)) as store,
                closing(Prometheus(url)) as prometheus,
            ):
                _run(Forwarder(store, prometheus, counters), stop)
        except Unavailable:
            stop.wait(1.0)


def _run(forwarder: Forwarder, stop: threading.Event) -> None:
    while not stop.wait(forwarder.turn()):
        pass
