"""Sends the outbox: what is new at once, the backlog after it, and again whatever nobody acknowledged."""

from __future__ import annotations

import contextlib

from appliance.errors import NoRoom
from mqtt import topics
from mqtt.answers import Publish
from mqtt.messages import Ack
from mqtt.outbox import Outbox

BATCH = 32 << 10  # bytes of one message
WINDOW = 16 * BATCH  # bytes of backlog on the way that the collector has not acknowledged
AGAIN = 20.0  # seconds that the oldest record may wait for the collector until all is sent again; doubled up to
LONGEST_AGAIN = 600.0  # while there is no collector


class Sender:
    """`turn` sends what may go now. Its places in the outbox live in memory: the disk knows only what is unsettled."""

    def __init__(self, outbox: Outbox, device: str) -> None:
        self._outbox = outbox
        self._topic = topics.telemetry(device)
        self._patience = AGAIN
        self.again = 0
        self.begin_again(0.0)

    def begin_again(self, now: float) -> None:
        """All that is there is backlog from here on: after a connection, or when the collector is silent."""
        self._backlog = 0  # sent up to here
        self._live_from = self._outbox.next_seq
        self._live = self._live_from - 1  # sent up to here
        self._on_the_way = 0
        self._oldest, self._since = self._outbox.oldest, now

    def acknowledged(self, ack: Ack) -> None:
        """The collector has some of it."""
        if self._outbox.settle(ack):
            self._patience = AGAIN
            self._on_the_way = 0

    def turn(self, publish: Publish, now: float) -> None:
        """Send. Nothing here waits."""
        with contextlib.suppress(NoRoom):  # what is there can be sent, and makes room
            self._outbox.report_lost()
        oldest = self._outbox.oldest
        if oldest != self._oldest or oldest is None:
            self._oldest, self._since = oldest, now
        elif now - self._since >= self._patience:
            self.again += 1
            self._patience = min(2 * self._patience, LONGEST_AGAIN)
            self.begin_again(now)
        self._live = self._send(publish, self._live, self._outbox.next_seq)
        while self._on_the_way < WINDOW:
            sent = self._send(publish, self._backlog, self._live_from)
            if sent == self._backlog:
                return
            self._backlog = sent

    def _send(self, publish: Publish, after: int, before: int) -> int:
        """One message of what lies between; returns the number up to which it is sent."""
        batch = self._outbox.between(after, before, BATCH)
        if not batch:
            return after
        payload = b"[" + b",".join(record for _, record in batch) + b"]"
        if publish(self._topic, payload) is None:
            return after
        self._on_the_way += len(payload)
        return batch[-1][0]
