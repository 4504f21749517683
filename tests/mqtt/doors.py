"""Deliveries by chance at every handler of a link that is whole but for its network: nothing is raised, each message is
taken from the broker, and whatever the link says is in the contract and on a topic that it has a right to."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from appliance import config
from mqtt import topics
from mqtt.address import Address
from mqtt.connection import Closed, Connection, Delivery, Event, Opened, Sent, Unsent, _delivery
from mqtt.link import Link
from mqtt.pool import LEASE
from mqtt.signing import new_key, private_key, signed
from tests.mqtt import said

NAME, POOL = "box", "pool"
ODD: list[Any] = [None, True, -1, 0, 2**70, 1e308, "", "x" * 300, "\0", "\ud800", [], {}, [[5, 1]], {"a": [1]}]
RIGHTS = (f"ensueno/v1/{NAME}/", topics.REPLIES, f"ensueno/v1/pools/{POOL}/claims/", topics.home_discovery(NAME))
REPLIES = [
    topics.reply("a"),
    topics.reply("a/b"),
    topics.reply("#"),
    topics.reply(""),
    "x",
    "",
    "a\0b",
    topics.jobs(NAME),
]


class Deaf(Connection):
    """A connection that is always open, hears what it is given, and holds what is said to the contract."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.events: deque[Event] = deque()
        self.taken: set[int] = set()
        self._number = 0

    @property
    def is_open(self) -> bool:
        return True

    def is_answered(self, now: float) -> bool:
        return True

    def turn(self, now: float) -> list[Event]:
        events = list(self.events)
        self.events.clear()
        return events

    def publish(self, topic: str, payload: bytes, **more: Any) -> int | None:
        assert topic.startswith(RIGHTS), topic
        if not topic.startswith(topics.REPLIES):
            said.check(topic, payload)
        self._number += 1
        self.events.append(Sent(self._number) if self._number % 50 else Unsent(self._number))
        if topic.startswith("ensueno/v1/pools/"):  # what a box says there it hears itself
            self.events.append(Delivery(topic, payload, False, None, more.get("correlation"), None, 1, 0, 0))
        return self._number

    def acknowledge(self, delivery: Delivery) -> None:
        self.taken.add(delivery.mid)

    def subscribe(self, *filters: str) -> None:
        pass

    subscribe_to_news = unsubscribe = subscribe


class Doors:
    """One link, and chance."""

    def __init__(self, folder: Path, bundle: Path, seed: int) -> None:
        self._chance = random.Random(seed)
        self._key = private_key(folder / "owner") if new_key(folder / "owner") else None
        given = {"data_dir": folder / "data", "bundle": bundle, "mqtt_device": NAME, "mqtt_pool": POOL}
        given |= {"mqtt_owner_key": folder / "owner.pub", "mqtt_home_updates": True, "queue_limit": 20}
        with mock.patch("mqtt.link.Connection", Deaf):
            self.link = Link(config.load({**given, "reserve_mib": 0}), Address.of("mqtt://127.0.0.1:1"))
        self.link.pool._able = lambda: None if self._chance.random() < 0.9 else "It is hot."  # type: ignore[union-attr]
        self._now = time.monotonic()
        self._mid = 0
        self.link.connection.events.append(Opened(session_present=True))  # type: ignore[attr-defined]
        self.raised: list[str] = []

    def knock(self, count: int) -> int:
        """Let so many messages come; how many were not taken, or raised."""
        for number in range(count):
            shared = self._chance.random() < 0.2
            connection: Any = self.link.pool.connection if shared else self.link.connection  # type: ignore[union-attr]
            topic = topics.pool_jobs(POOL) if shared else self._topic()
            self._turn(connection, self._delivery(topic))
            if number % 53 == 0:
                self._end_all()
            if number % 997 == 0:
                self._turn(self.link.connection, Closed("by chance"))
                self._turn(self.link.connection, Opened(session_present=self._chance.random() < 0.5))
        self._now += LEASE + 1  # what waits for a claim is given back
        self._turn(self.link.connection, Closed("the end"))
        taken = self.link.connection.taken | self.link.pool.connection.taken  # type: ignore[union-attr,attr-defined]
        return len(set(range(1, self._mid + 1)) - taken) + len(self.raised)

    def _end_all(self) -> None:
        """Room in the queue, and ends to tell: there is no engine."""
        journal = self.link._journal
        with journal.database.read() as db:
            queued = [row[0] for row in db.execute("SELECT id FROM jobs WHERE state = 'queued'")]
        for job_id in queued:
            self.link._board.ring(journal.cancel(job_id).id)

    def _turn(self, connection: Any, event: Event) -> None:
        connection.events.append(event)
        self._now += self._chance.choice([0.0, 0.01, 1.0])
        try:
            self.link.turn([], self._now)
        except Exception as error:
            self.raised.append(f"{type(error).__name__}: {error} at {event!r:.300}")

    def _topic(self) -> str:
        odd = ["x" * 300, f"ensueno/v1/{NAME}//", topics.claim(POOL, "~box"), topics.claim(POOL, "\ud7ff"), "$SYS/a"]
        ours = [*self.link._on_topic, *(topics.claim(POOL, f"job-{number}") for number in range(4))]
        return self._chance.choice(odd if self._chance.random() < 0.05 else ours)

    def _delivery(self, topic: str) -> Delivery:
        """Through paho's own properties, as the network thread makes it."""
        chance, properties = self._chance, Properties(PacketTypes.PUBLISH)
        if chance.random() < 0.7:
            properties.ResponseTopic = chance.choice(REPLIES)
        if chance.random() < 0.5:
            properties.CorrelationData = chance.randbytes(chance.choice([0, 1, 16, 65_000]))
        if chance.random() < 0.5:
            properties.MessageExpiryInterval = chance.choice([0, 1, 60, 2**32 - 1])
        if chance.random() < 0.3:
            properties.UserProperty = [("a", "b"), ("a", "x" * 1000)]
            properties.ContentType, properties.PayloadFormatIndicator = "application/json", 1
        self._mid += 1
        message = MQTTMessage(self._mid, topic.encode("utf-8", "surrogatepass"))
        message.payload, message.properties, message.qos = self._payload(topic), properties, 1
        message.retain = chance.random() < 0.2
        return _delivery(message, 1)

    def _payload(self, topic: str) -> bytes:
        """A good one of the topic's kind, or of another's, with fields of other kinds, bytes flipped, or noise."""
        chance = self._chance
        kinds: dict[str, Callable[[], dict[str, Any]]] = {
            "jobs": self._wish, "ack": self._ack, "presence": self._presence, "commands": self._command,
            "claims": self._claim,
        }  # fmt: skip
        fits = next((name for name in kinds if f"/{name}" in topic), chance.choice(list(kinds)))
        body = kinds[fits if chance.random() < 0.9 else chance.choice(list(kinds))]()
        for _ in range(chance.choice([0, 0, 0, 1, 2])):
            body[chance.choice([*body, "extra", "\ud800"])] = chance.choice(ODD)
        data = bytearray(json.dumps(body).encode())
        if "signature" in body and chance.random() < 0.7 and self._key is not None:
            body.pop("signature")
            with contextlib.suppress(UnicodeEncodeError):
                data = bytearray(signed(body, self._key))
        for _ in range(chance.choice([0, 0, 0, 1, 3])):
            place = chance.randrange(len(data) + 1)
            data[place : place + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
        words = [b"", b"install", b"online", b"96x64", b"PRESS", "niña".encode(), chance.randbytes(50), b"[" * 60_000]
        return chance.choice(words) if chance.random() < (0.6 if "/home/" in topic else 0.05) else bytes(data)

    def _wish(self) -> dict[str, Any]:
        chance = self._chance
        wish = {"v": 1, "id": f"job-{chance.randrange(40)}", "prompt": "an apple", "seed": chance.randrange(3)}
        more: list[dict[str, Any]] = [{}, {"pool": POOL}, {"kind": "cancel"}, {"priority": "high"}, {"size": "96x64"}]
        return wish | chance.choice(more)

    def _ack(self) -> dict[str, Any]:
        pairs = [[self._chance.randrange(30) for _ in range(2)] for _ in range(self._chance.randrange(3))]
        session = self._chance.choice([self.link._store.boot, "another"])
        return {"v": 1, "session": session, "upto": self._chance.randrange(20), "also": pairs}

    def _presence(self) -> dict[str, Any]:
        state, boot = self._chance.choice(["online", "offline"]), self._chance.choice([self.link._store.boot, "b"])
        return {"v": 1, "device": NAME, "state": state, "session": self._chance.randrange(3), "boot": boot}

    def _claim(self) -> dict[str, Any]:
        chance = self._chance
        claim = {"v": 1, "job": "job-1", "device": chance.choice([NAME, "other"]), "epoch": chance.randrange(1, 4)}
        return claim | {"lease": 15.0, "ended": chance.random() < 0.1}

    def _command(self) -> dict[str, Any]:
        """Of those that begin no program."""
        chance = self._chance
        name = chance.choice(["limits", "diagnostics", "restart_engine"])
        command = {"v": 1, "device": NAME, "name": name, "nonce": f"{chance.randrange(200):016d}", "signature": "AAAA"}
        return command | {"expires": time.time() + 60, "arguments": chance.choice([{}, {"queue": 9}, {"queue": "x"}])}


def doors(folder: Path, bundle: Path, seed: int, count: int) -> list[str]:
    """Knock `count` times; what was not as it should be, as sentences."""
    with ExitStack() as stack:
        made = Doors(folder, bundle, seed)
        stack.callback(made.link.close)
        missed = made.knock(count)
    return [*made.raised, *([f"{missed} in all were raised or never taken"] if missed else [])]
