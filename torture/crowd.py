"""People who ask over one connection: each job is the requester's own `Asking`, with its patience and its repeats."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.errors import BadInput
from mqtt import requester, topics
from mqtt.address import Address
from mqtt.connection import Connection, Delivery, Opened
from mqtt.messages import Accepted, End, read_answer
from mqtt.requester import Asking, Target, wish_of
from mqtt.waker import Waker

_TURN = 0.05  # seconds
_EXPIRY = 3600


@dataclass(frozen=True)
class Request:
    """One job: what, and of whom; `cancel` as soon as it is accepted."""

    id: str
    fields: Mapping[str, Any]
    target: Target
    cancel: bool = False


@dataclass
class Crowd:
    """Asks `requests` in order, at most `window` at once. `heard` hears each `Accepted` and each `End`, repeats too."""

    address: Address
    name: str
    requests: Iterable[Request]
    window: int
    heard: Callable[[Accepted | End], None]
    asking: dict[str, tuple[Request, Asking]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._waker = Waker()
        self._reply = topics.reply(self.name)
        self._left: Iterator[Request] = iter(self.requests)
        self._connection = Connection(self.address, self.name, max_packet=8 << 20, woken=self._waker.wake)
        self._cancelled: set[str] = set()

    def run(self, clock: Callable[[], float]) -> None:
        """Until the last has its end."""
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        while self.turn(clock()):
            poll.poll(_TURN * 1000)
            self._waker.clear()
        self._connection.close()

    def turn(self, now: float) -> bool:
        """One look at the broker; False when all is asked and ended."""
        for event in self._connection.turn(now):
            if isinstance(event, Opened):
                self._connection.subscribe(self._reply)
                for _, asking in self.asking.values():
                    asking.ask_now()
            elif isinstance(event, Delivery):
                self._hear(event, now)
                self._connection.acknowledge(event)
        while len(self.asking) < self.window and (request := next(self._left, None)) is not None:
            payload = wish_of(request.fields, request.target, request.id)
            asking = Asking(request.id, payload, request.target.topic, float("inf"), _patience=requester.FIRST_PATIENCE)
            self.asking[request.id] = request, asking
        for _, asking in self.asking.values():
            if self._connection.is_open and asking.due(now):
                self._say(asking.where, asking.payload, asking.job)
                asking.asked(now)
        return bool(self.asking)

    def _hear(self, delivery: Delivery, now: float) -> None:
        try:
            answer = read_answer(delivery.payload)
        except BadInput:
            return
        if isinstance(answer, Accepted | End):
            self.heard(answer)
        request, asking = self.asking.get(answer.id or "", (None, None))
        if request is None or asking is None:
            return
        asking.hear(delivery.payload, now)
        if isinstance(answer, Accepted) and request.cancel and request.id not in self._cancelled:
            self._cancelled.add(request.id)
            self._say(topics.jobs(answer.device), b'{"v": 1, "kind": "cancel", "id": "%s"}' % request.id.encode(), "")
        if asking.over:
            del self.asking[request.id]

    def _say(self, topic: str, payload: bytes, correlation: str) -> None:
        self._connection.publish(
            topic, payload, expiry=_EXPIRY, response_topic=self._reply, correlation=correlation.encode()
        )
