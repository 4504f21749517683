"""A command of the owner: signed, said until the box has answered, and its result. Said twice it is done once."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.errors import BadInput, Unavailable
from appliance.ids import new_id
from mqtt import topics
from mqtt.address import Address
from mqtt.connection import Closed, Connection, Delivery, Event, Opened, Subscribed, Unsent
from mqtt.messages import BEGUN, CommandName, CommandResult, read
from mqtt.signing import private_key, signed
from mqtt.waker import Waker

AGAIN = 5.0  # seconds until it is said again


class Order:
    """One command to one box. `turn` is one look at the broker; `result` is there when the box has done it, or not."""

    def __init__(self, connection: Connection, device: str, name: str, arguments: dict[str, str | int]) -> None:
        if name not in get_args(CommandName):
            raise BadInput(f"{name!r} is no command: choose one of {', '.join(get_args(CommandName))}.")
        self._connection = connection
        self._device = topics.checked_name(device)
        self._body = {"device": self._device, "name": name, "nonce": new_id(), "arguments": arguments}
        self._answer = topics.command_result(self._device, str(self._body["nonce"]))
        self._payload = b""
        self._heard = False
        self._next = float("inf")
        self.result: CommandResult | None = None

    def sign(self, key: Ed25519PrivateKey, seconds: float) -> None:
        """Valid from now on for so long."""
        self._payload = signed({**self._body, "expires": time.time() + seconds}, key)
        self._expiry = max(1, int(seconds))

    def turn(self, now: float) -> None:
        """Raises `BadInput` when the broker will not have us."""
        for event in self._connection.turn(now):
            self._on(event)
        if now >= self._next and not self._heard and self._connection.is_open:
            self._next = now + AGAIN
            self._connection.publish(topics.commands(self._device), self._payload, expiry=self._expiry)

    def _on(self, event: Event) -> None:
        match event:
            case Closed(reason, refused=True):
                raise BadInput(f"No connection to {self._connection.address}: {reason}.")
            case Unsent():
                raise BadInput(f"The broker does not let us command {self._device}: provision an operator.")
            case Opened():
                self._connection.subscribe(self._answer)
            case Subscribed():
                self._next, self._heard = 0.0, False  # a broker that was killed may have forgotten all
            case Delivery(topic=self._answer):
                self._hear(event)

    def _hear(self, delivery: Delivery) -> None:
        self._connection.acknowledge(delivery)
        try:
            result = read(CommandResult, delivery.payload)
        except BadInput:
            return
        self._heard = True
        if result.detail != BEGUN:
            self.result = result


def give(address: Address, order: tuple[str, str, dict[str, str | int]], key: Path, seconds: float) -> CommandResult:
    """Say the command and wait for its result. Raises `EnsuenoError`."""
    waker = Waker()
    connection = Connection(address, f"ensueno-owner-{new_id()[-16:].lower()}", woken=waker.wake)
    said = Order(connection, *order)
    said.sign(private_key(key), seconds)
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(waker, select.POLLIN)
    try:
        while said.result is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"No result came in time: is {order[0]} online, and has it this owner's public key?")
            poll.poll(500)
            waker.clear()
            said.turn(time.monotonic())
    finally:
        connection.leave()
    return said.result


def arguments_of(words: Sequence[str]) -> dict[str, str | int]:
    """`steps=3 bundle=emoji-128` → what the command carries. Raises `BadInput`."""
    found: dict[str, str | int] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise BadInput(f"{word!r} is no argument: write it as name=value.")
        found[name] = int(value) if value.removeprefix("-").isdecimal() and value.isascii() else value
    return found
