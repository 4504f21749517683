"""Boxes that are not there: devices that speak the telemetry protocol, outbox, acknowledgements and repeats included.

Many devices share a few connections. Each device keeps what it said until the collector acknowledged it, sends the
newest record first and the backlog after, and sends again what was not acknowledged in time: as the real ones do.
What a simulated device does not show: a disk (its outbox is memory) and a link process of its own.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.errors import BadInput, Unavailable
from mqtt import topics
from mqtt.address import Address
from mqtt.fleet.broker import Broker
from mqtt.messages import VERSION, Ack, read

BACKLOG_BATCH = 50  # records in one message
IN_FLIGHT = 200  # messages on one connection that wait for the collector
AGAIN = 15.0  # seconds without an acknowledgement
MOST_CONNECTIONS = 100
ENGINES = ("tensorrt", "openvino", "onnxruntime")
BUNDLES = ("emoji-128 1.0.0", "emoji-128 1.1.0")
_PACE = {"tensorrt": 0.25, "openvino": 1.6, "onnxruntime": 2.1}  # seconds for a picture


@dataclass(slots=True)
class Device:
    """One simulated box and its outbox: what it said and nobody acknowledged, by number."""

    name: str
    number: int
    session: str
    seq: int = 0
    outbox: dict[int, bytes] = field(default_factory=dict)
    sent: dict[int, float] = field(default_factory=dict)
    pictures: int = 0

    def say(self, at: float, kind: str = "sample", **more: Any) -> None:
        """Put one record in the outbox: `at` is the device's own unix time."""
        self.seq += 1
        samples, labels = self._numbers(at), self._labels()
        record = {
            "v": VERSION, "device": self.name, "session": self.session, "seq": self.seq, "time": at, "kind": kind,
            "priority": 1, "samples": samples if kind == "sample" else {}, "labels": labels, **more,
        }  # fmt: skip
        self.outbox[self.seq] = json.dumps(record).encode()

    def unsent(self, before: float) -> list[int]:
        """Numbers that were not sent since `before`, the newest first and then the oldest."""
        due = [seq for seq in self.outbox if self.sent.get(seq, -math.inf) <= before]
        return due[-1:] + due[:-1]

    def acknowledged(self, ack: Ack) -> None:
        spans = [(1, ack.upto), *ack.also]
        gone = [seq for seq in self.outbox if any(first <= seq <= last for first, last in spans)]
        for seq in gone:
            del self.outbox[seq]
            self.sent.pop(seq, None)

    def _labels(self) -> dict[str, str]:
        mismatch = self.number % 23 == 7
        return {
            "engine": ENGINES[-1] if mismatch else ENGINES[self.number % 3],
            "bundle": BUNDLES[self.number % 2],
            "passport": "mismatch" if mismatch else "ok",
            "version": "0.1.0",
        }

    def _numbers(self, at: float) -> dict[str, float]:
        chance = random.Random(f"{self.name} {at}")  # noqa: S311  the same device says the same at the same time
        warm = 55 + 25 * math.sin(at / 7200 + self.number) + chance.uniform(-1, 1)
        seconds = _PACE[self._labels()["engine"]] * chance.lognormvariate(0, 0.15)
        watts = 12 + 20 * chance.random()
        self.pictures += 1 + chance.randrange(4)
        failed = self.pictures // (10 if self.number % 11 == 3 else 400)
        return {
            "picture_seconds": seconds,
            "text_encoder_seconds": seconds * 0.1,
            "step_seconds": seconds * 0.2,
            "vae_decoder_seconds": seconds * 0.1,
            "joules_per_picture": watts * seconds,
            "parked_seconds_total": float(self.pictures // 300),
            "engine_up": 1.0,
            "engine_pictures": float(self.pictures),
            "jobs_queued": float(chance.randrange(5)),
            "jobs_running": float(chance.randrange(2)),
            "jobs_finished_total": float(self.pictures),
            "jobs_failed_total": float(failed),
            "jobs_cancelled_total": float(self.pictures // 60),
            "jobs_expired_total": float(self.pictures // 900),
            "jobs_refused_total": float(self.pictures // 80),
            "temperature_celsius": warm,
            "power_watts": watts,
            "gpu_load_ratio": chance.random(),
            "throttled": float(warm > 78),
            "memory_free_bytes": 2e9 + 1e9 * chance.random(),
            "disk_free_bytes": 0.9e9 if self.number % 17 == 5 else 40e9,
            "trouble": 2.0 if warm > 78 or self.number % 17 == 5 else 0.0,
            "answers_open": float(chance.randrange(3)),
            "link_doubles_total": 0.0,
            "pool_doubles_total": float(self.pictures // 500),
            "outbox_records": float(len(self.outbox)),
            "outbox_bytes": float(400 * len(self.outbox)),
            "outbox_sent_again_total": 0.0,
            "telemetry_unstored_total": 0.0,
        }


@dataclass(slots=True)
class _Line:
    broker: Broker
    devices: list[Device]
    life: int = 0


class Fleet:
    """Many devices over a few connections. `turn` does a little of everything; no thread."""

    def __init__(
        self,
        devices: Sequence[Device],
        connect: Callable[[int, Sequence[str]], Broker],
        *,
        connections: int = MOST_CONNECTIONS,
        again: float = AGAIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 1 <= connections <= MOST_CONNECTIONS:
            raise BadInput(f"{connections} connections cannot be made: give 1 to {MOST_CONNECTIONS}.")
        self._clock, self._again = clock, again
        self.devices = {device.name: device for device in devices}
        shares = [devices[start::connections] for start in range(min(connections, len(devices)))]
        self._lines = [
            _Line(connect(index, [topics.ack(device.name) for device in share]), list(share))
            for index, share in enumerate(shares)
        ]
        self.messages = 0

    @property
    def waiting(self) -> int:
        """Records that nobody has acknowledged."""
        return sum(len(device.outbox) for device in self.devices.values())

    def turn(self, wait: float = 0.0) -> None:
        """Send what is due on each connection, and hear the acknowledgements."""
        for line in self._lines:
            self._hear(line.broker.receive(1000, wait / len(self._lines)))
            self._send(line)

    def close(self) -> None:
        for line in self._lines:
            line.broker.close()

    def _hear(self, messages: Iterable[Any]) -> None:
        for message in messages:
            device = self.devices.get(topics.device_of(message.topic) or "")
            if device is not None:
                ack = read(Ack, message.payload)
                if ack.session == device.session:
                    device.acknowledged(ack)

    def _send(self, line: _Line) -> None:
        if line.broker.life != line.life:
            line.life = line.broker.life  # what was under way before may be lost: all of it again
            for device in line.devices:
                device.sent.clear()
        if not line.broker.ready:
            return
        now = self._clock()
        room = IN_FLIGHT - sum(1 for device in line.devices if device.sent)
        for device in line.devices:
            for batch in _batches(device.unsent(now - self._again)) if device.outbox else ():
                if room <= 0:
                    return
                if not self._say(line.broker, device, batch, now):
                    return
                room -= 1

    def _say(self, broker: Broker, device: Device, batch: Sequence[int], now: float) -> bool:
        records = [device.outbox[seq] for seq in batch]
        payload = records[0] if len(records) == 1 else b"[" + b",".join(records) + b"]"
        try:
            broker.publish(topics.telemetry(device.name), payload, 1)
        except Unavailable:
            return False
        device.sent.update(dict.fromkeys(batch, now))
        self.messages += 1
        return True


def devices(count: int, seed: int = 0, prefix: str = "sim") -> list[Device]:
    """`count` devices with names of their own; the seed names their sessions."""
    return [Device(f"{prefix}-{number:06d}", number, f"{seed:x}-{number:x}") for number in range(count)]


def connector(address: Address, name: str) -> Callable[[int, Sequence[str]], Broker]:
    """How `Fleet` makes its connections."""

    def connect(index: int, filters: Sequence[str]) -> Broker:
        return Broker(address, f"{name}-{index}", filters)

    return connect


def live(fleet: Fleet, every: float, seconds: float | None) -> None:
    """Let each device speak once in `every` seconds, evenly spread, for `seconds` (None: until told to stop)."""
    names = list(fleet.devices)
    start, spoken = time.monotonic(), 0
    while seconds is None or time.monotonic() - start < seconds:
        due = int((time.monotonic() - start) / every * len(names))
        for turn in range(spoken, due):
            fleet.devices[names[turn % len(names)]].say(time.time())
        spoken = due
        fleet.turn(0.02)
    deadline = time.monotonic() + 60
    while fleet.waiting and time.monotonic() < deadline:
        fleet.turn(0.1)


def past(fleet: Fleet, hours: float, every: float, now: float) -> None:
    """Let each device have spoken for the last `hours`, as after a long cut: all of it waits in the outboxes."""
    start = now - hours * 3600
    for step in range(int(hours * 3600 / every)):
        for device in fleet.devices.values():
            device.say(start + step * every)


def _batches(numbers: list[int]) -> Iterable[list[int]]:
    """The newest alone, then the others together."""
    if numbers:
        yield numbers[:1]
    for start in range(1, len(numbers), BACKLOG_BATCH):
        yield numbers[start : start + BACKLOG_BATCH]
