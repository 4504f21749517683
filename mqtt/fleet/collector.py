"""Telemetry in, made durable, acknowledged: one turn at a time, by one thread.

    broker.receive ─▶ intake.take ─▶ store.keep (fsync) ─▶ broker.ack (MQTT) and `Ack` to each device
                                          └─ spool ─▶ forward.py ─▶ Prometheus

Nothing is acknowledged before it is on the disk. When the disk is full the batch is held, and the broker's receive
maximum holds back the rest: the devices keep what we do not take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from appliance.errors import EnsuenoError, NoRoom, Unavailable
from mqtt import topics
from mqtt.fleet import intake, series
from mqtt.fleet.broker import Received
from mqtt.fleet.counters import Counters
from mqtt.fleet.ranges import Ranges
from mqtt.fleet.store import Kept, Store
from mqtt.messages import MAX_RANGES, Ack

GROUP = "collectors"
BATCH = 1000  # messages in one commit, at most
LOOK_AGAIN = 60.0  # seconds between two counts of the whole fleet


class Post(Protocol):
    """What the collector needs of a broker (`broker.Broker`)."""

    @property
    def ready(self) -> bool: ...
    def receive(self, most: int, wait: float) -> list[Received]: ...
    def pause(self, wait: float) -> None: ...
    def ack(self, message: Received) -> None: ...
    def publish(self, topic: str, payload: bytes) -> int: ...


class Collector:
    """One collector. `clock`: our unix seconds. `failpoint` is called where a death must lose nothing."""

    def __init__(
        self,
        broker: Post,
        store: Store,
        counters: Counters,
        *,
        clock: Callable[[], float] = time.time,
        failpoint: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._broker, self._store, self._counters = broker, store, counters
        self._clock, self._failpoint = clock, failpoint
        self._held: list[Received] = []
        self._looked, self._crowded = float("-inf"), False
        self.trouble: str | None = None

    def turn(self, wait: float = 0.5) -> int:
        """Take what comes within `wait` seconds, keep it, acknowledge it; returns how many messages."""
        self._look_around()
        if self._held:
            self._broker.pause(wait)
        batch = self._held or self._broker.receive(BATCH, wait)
        self._counters.connected.set(self._broker.ready)
        if not batch:
            return 0
        taken = intake.Taken()
        for message in batch:
            intake.take(message.topic, message.payload, self._clock(), self._crowded, taken)
        kept = self._keep(batch, taken)
        if kept is None:
            return 0
        self._failpoint("kept")
        self._acknowledge(batch, kept)
        return len(batch)

    def _keep(self, batch: list[Received], taken: intake.Taken) -> Kept | None:
        try:
            with self._counters.keeping.time():
                kept = self._store.keep(taken.readings, taken.refusals)
        except (NoRoom, Unavailable) as error:
            self._held = batch
            self._put_off(error)
            return None
        self._held, self.trouble = [], None
        self._counters.messages.inc(len(batch))
        self._counters.kept(kept, taken.refusals)
        return kept

    def _acknowledge(self, batch: Sequence[Received], kept: Kept) -> None:
        for message in batch:
            self._broker.ack(message)
        try:
            for (device, session), ranges in kept.ranges.items():
                for ack in acks(session, ranges):
                    self._broker.publish(topics.ack(device), ack.as_bytes())
                    self._counters.acks.inc()
        except Unavailable:
            pass  # the devices send again, and are told then

    def _look_around(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_AGAIN:
            return
        self._looked = now
        try:
            devices, missing = self._store.devices(), self._store.missing()
            self._store.forget()
        except (NoRoom, Unavailable) as error:
            self._put_off(error)
            return
        self._crowded = devices > series.CROWD
        self._counters.devices.set(devices)
        self._counters.missing.set(missing)
        if not self._held:
            self.trouble = None

    def _put_off(self, error: EnsuenoError) -> None:
        """What the store cannot do now it is asked again."""
        self.trouble = str(error)
        self._counters.waits.labels(type(error).__name__).inc()


def acks(session: str, ranges: Ranges) -> list[Ack]:
    """The acknowledgements for these ranges, in as many messages as they need."""
    upto = ranges[0][1] if ranges[0][0] == 1 else 0
    also = [span for span in ranges if span[0] > upto]
    starts = range(0, max(len(also), 1), MAX_RANGES)
    return [Ack(session=session, upto=upto, also=also[start : start + MAX_RANGES]) for start in starts]
