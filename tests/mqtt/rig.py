"""A box in this process: the real link and the real engine's driver over one data dir, turned by hand; and an ear."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from appliance import config
from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.progress import Board, Pulse, board_folder, boottime
from appliance.worker.checkpoint import Checkpoints
from appliance.worker.drive import Driver
from mqtt.address import Address, address_of
from mqtt.connection import Connection, Delivery, Opened, Subscribed
from mqtt.link import Link
from mqtt.waker import Waker
from tests.mqtt import said

PATIENCE = 30.0


class Turns(Protocol):
    """Whatever has one turn at a time."""

    def turn(self) -> None: ...


def until(true: Callable[[], Any], *things: Turns) -> Any:
    """Turn them until it has come to pass; the network is outside and sets the pace."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for thing in things:
            thing.turn()
        answer = true()
        if answer:
            return answer
        select.select([], [], [], 0.01)
    raise AssertionError("it did not come to pass")


class Rig:
    """A box named `name`. Its engine draws only when `draws`."""

    def __init__(
        self, folder: Path, bundle: Path, pipeline: TextToImage, url: str, name: str, pool: str = "", **more: Any
    ) -> None:
        given = {"data_dir": folder, "bundle": bundle, "mqtt_device": name, "mqtt_pool": pool, "reserve_mib": 0, **more}
        self.settings = config.load(given)
        self.name = name
        self.draws = True
        self.board = Board(board_folder(folder))
        self.journal = Journal(self.settings.journal_path, reserve=0)
        self._address = address_of(self.settings, url)
        self.link = Link(self.settings, self._address)
        manifest = Bundle.open(bundle).manifest
        self.driver = Driver(
            self.journal,
            self.journal.open_session(),
            ImageStore(self.settings.images_dir),
            self.board,
            Checkpoints(self.settings.checkpoints_dir),
            pipeline,
            offer=manifest.offer(),
            bundle="tiny",
            batch_limit=8,
        )
        self.beat()

    def beat(self, pictures: int = 1) -> None:
        """The engine's sign of life; with no picture it does not count as able."""
        pulse = Pulse(
            pid=os.getpid(), session="s", engine="onnxruntime", bundle="tiny", pictures=pictures, beat=boottime(),
            patience=600.0, seconds_per_picture=0.5,
        )  # fmt: skip
        self.board.beat(pulse)

    def turn(self) -> None:
        self.link.turn(["*"], time.monotonic())
        if self.draws:
            self.driver.turn()

    def die(self) -> None:
        """As by kill -9: nothing is said, nothing is closed in order."""
        pool = self.link.pool
        for connection in (self.link.connection, *([] if pool is None else [pool.connection])):
            connection.reset()
            connection._next = float("inf")

    def rise(self) -> None:
        """A new link over the same data dir."""
        self.link = Link(self.settings, self._address)

    def close(self) -> None:
        self.link.close()


@dataclass
class Ear:
    """Hears `filters`, holding all that devices say to the contract, and speaks as a requester does."""

    url: str
    name: str
    filters: tuple[str, ...]
    heard: list[Delivery] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._waker = Waker()
        self.connection = Connection(Address.of(self.url), self.name, max_packet=8 << 20, woken=self._waker.wake)
        self.ready = False

    def turn(self) -> None:
        for event in self.connection.turn(time.monotonic()):
            if isinstance(event, Opened):
                self.connection.subscribe(*self.filters)
                self.ready = not self.filters
            elif isinstance(event, Subscribed):
                self.ready = True
            elif isinstance(event, Delivery):
                said.check_devices(event.topic, event.payload)
                self.heard.append(event)
                self.connection.acknowledge(event)

    def say(self, topic: str, body: Any, **more: Any) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        assert self.connection.publish(topic, payload, **more) is not None

    def bodies(self, topic: str) -> list[dict[str, Any]]:
        """Every payload of the topic so far."""
        return [json.loads(one.payload) for one in self.heard if one.topic == topic]

    def kinds(self, topic: str) -> list[str]:
        return [body["kind"] for body in self.bodies(topic)]

    def close(self) -> None:
        self.connection.close()
