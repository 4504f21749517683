"""The owner's commands over a real broker to a box that really runs: each is done once, and acknowledged."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.bundles.install import install
from appliance.bundles.slots import Slots
from mqtt import topics
from mqtt.signing import signed
from tests import served
from tests.mqtt.broker import Broker
from tests.mqtt.rig import Ear, until
from tests.served import Served, running
from tests.tiny_bundles import make_tiny_bundle

KEY = Ed25519PrivateKey.generate()
NAME = "owned-box"
FIRST, SECOND = "tiny-0.0.1", "second-0.0.1"


@dataclass
class Owner:
    """Says commands, each with a nonce of its own, and hears their results."""

    ear: Ear
    nonces: Iterator[int]

    def command(self, name: str, nonce: str = "", **arguments: Any) -> dict[str, Any]:
        """The last word on it: what `done` says, in whatever life of the link."""
        nonce = nonce or f"nonce-{next(self.nonces):016d}"
        body = {"device": NAME, "name": name, "nonce": nonce, "expires": time.time() + 60, "arguments": arguments}
        self.ear.say(topics.commands(NAME), signed(body, KEY))
        until(lambda: [one for one in self.results(nonce) if one["detail"] != "Begun."], self.ear)
        return self.results(nonce)[-1]

    def results(self, nonce: str) -> list[dict[str, Any]]:
        return self.ear.bodies(topics.command_result(NAME, nonce))


@pytest.fixture(scope="module")
def box(tiny_folder: Path, mosquitto: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two bundles are installed, the first is drawn with."""
    folder = tmp_path_factory.mktemp("owned")
    slots = Slots(folder / "data")
    install(tiny_folder, slots)
    install(make_tiny_bundle(folder / "second", name="second"), slots)
    slots.activate(FIRST)
    slots.accept()
    public = folder / "owner.pem"
    public.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    config = folder / "box.toml"
    config.write_text(f'mqtt_owner_key = "{public}"\nmqtt_pool = ""\n')
    options = ("--mqtt", mosquitto.url, "--mqtt-device", NAME, "--config", str(config))
    with running(None, folder / "data", *options) as made:
        yield made


@pytest.fixture
def owner(box: Served, mosquitto: Broker) -> Iterator[Owner]:
    ear = Ear(mosquitto.url, f"owner-{time.monotonic_ns()}", (topics.command_result(NAME, "+"), topics.presence(NAME)))
    until(lambda: any(one["state"] == "online" for one in ear.bodies(topics.presence(NAME))), ear)
    yield Owner(ear, itertools.count(time.monotonic_ns()))
    ear.close()


def bundle(box: Served) -> str:
    return str(box.call("/readyz")[1].get("bundle", ""))


def test_an_engine_is_started_again(box: Served, owner: Owner) -> None:
    before = box.engine()
    result = owner.command("restart_engine")
    assert result["done"], result
    served.until(lambda: box.engine() != before and box.ready())


def test_a_bundle_is_activated_and_taken_back_and_every_process_draws_with_it(box: Served, owner: Owner) -> None:
    result = owner.command("activate", bundle=SECOND)
    assert result["done"], result
    served.until(lambda: box.ready() and bundle(box) == "second 0.0.1")
    until(lambda: owner.ear.bodies(topics.presence(NAME))[-1].get("bundle") == "second 0.0.1", owner.ear)
    result = owner.command("rollback")
    assert (result["done"], result["detail"]) == (True, f"Back to {FIRST}.")
    served.until(lambda: box.ready() and bundle(box) == "tiny 0.0.1")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("activate", {"bundle": "third-1.0.0"}, "No bundle third-1.0.0 is installed"),
        ("activate", {"bundle": "../../etc"}, "Name the bundle"),
        ("activate", {}, "Name the bundle"),
        ("limits", {"steps": -1}, "Limits are whole numbers"),
        ("limits", {"power": 10}, "Limits are whole numbers"),
        ("limits", {"steps": True}, "Limits are whole numbers"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    box: Served, owner: Owner, name: str, arguments: dict[str, Any], said: str
) -> None:
    result = owner.command(name, **arguments)
    assert not result["done"]
    assert result["detail"].startswith(said)


def test_limits_hold_at_every_door_until_they_are_taken_away(box: Served, owner: Owner) -> None:
    result = owner.command("limits", steps=3, queue=50)
    assert (result["done"], result["facts"]) == (True, {"steps": 3, "queue": 50})
    status, answer = box.call("/v1/jobs", {"prompt": "an apple", "steps": 4})
    assert (status, answer["detail"]) == (400, "The owner of this box allows steps up to 3, not 4: ask for less.")
    owner.ear.connection.subscribe(topics.reply("owner"))
    wish = {"id": f"limited-{time.monotonic_ns()}", "prompt": "an apple", "steps": 4}
    owner.ear.say(topics.jobs(NAME), json.dumps(wish).encode(), response_topic=topics.reply("owner"))
    until(lambda: owner.ear.kinds(topics.reply("owner")) == ["rejected"], owner.ear)
    assert box.call("/v1/jobs", {"prompt": "an apple", "steps": 3})[0] == 202
    assert owner.command("limits", steps=0)["facts"] == {"queue": 50}
    assert box.call("/v1/jobs", {"prompt": "an apple", "steps": 4})[0] == 202


def test_a_command_said_twice_is_done_once(box: Served, owner: Owner) -> None:
    nonce = f"twice-{time.monotonic_ns():020d}"
    first = owner.command("limits", nonce, queue=60)
    owner.command("limits", queue=0)
    again = owner.command("limits", nonce, queue=60)
    assert again == first
    assert owner.command("limits")["facts"] == {}
