"""A broker's stand-in for one turn of the collector: messages are handed in, what it said is kept.

It shows the order of keeping and acknowledging; what a real broker does is shown in test_whole_way.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mqtt.fleet.broker import Received
from mqtt.messages import Ack, read


@dataclass
class FakePost:
    """`given` comes in one batch; `acked` holds message ids, `told` what devices were sent."""

    given: list[Received] = field(default_factory=list)
    acked: list[int] = field(default_factory=list)
    told: list[tuple[str, Ack]] = field(default_factory=list)
    ready: bool = True

    def give(self, topic: str, payload: bytes) -> None:
        self.given.append(Received(topic, payload, len(self.given) + 1, 1, 1))

    def receive(self, most: int, wait: float) -> list[Received]:
        batch, self.given = self.given[:most], self.given[most:]
        return batch

    def pause(self, wait: float) -> None:
        """No time passes here."""

    def ack(self, message: Received) -> None:
        self.acked.append(message.mid)

    def publish(self, topic: str, payload: bytes) -> int:
        self.told.append((topic, read(Ack, payload)))
        return len(self.told)
