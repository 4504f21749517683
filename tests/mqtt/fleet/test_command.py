"""The owner's side of commands, over the broker that ships: a key, an order, its result, and what may go wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.pipeline.text_to_image import TextToImage
from mqtt.fleet.__main__ import main
from mqtt.fleet.owner import arguments_of
from mqtt.fleet.provision import Pki
from tests.mqtt.fleet.services import DEPLOY, ShippedBroker, shipped_broker
from tests.mqtt.rig import Rig, until

Say = Callable[..., subprocess.CompletedProcess[str]]


@dataclass
class World:
    """A broker, its authority, and the owner's key."""

    broker: ShippedBroker
    pki: Path
    key: Path

    def options(self, user: str) -> list[str]:
        folder = self.pki / user
        named = {"broker": self.broker.url, "ca": folder / "ca.crt", "cert": folder / "cert.pem"}
        named |= {"key": folder / "key.pem", "owner-key": self.key}
        return [word for name, value in named.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("owner")
    assert main(["owner-key", str(folder / "owner")]) == 0
    pki = Pki(folder / "pki")
    pki.broker(["127.0.0.1"])
    pki.user("box-1", "device")
    pki.user("boss", "operator")
    pki.user("asker", "requester")
    with shipped_broker(folder / "broker", folder / "pki") as broker:
        yield World(broker, folder / "pki", folder / "owner")


@pytest.fixture
def box(world: World, tmp_path: Path, tiny_folder: Path, pipeline: TextToImage) -> Iterator[Rig]:
    mine = world.pki / "box-1"
    made = Rig(
        tmp_path / "box", tiny_folder, pipeline, world.broker.url, "box-1", mqtt_ca=mine / "ca.crt",
        mqtt_certificate=mine / "cert.pem", mqtt_key=mine / "key.pem", mqtt_owner_key=f"{world.key}.pub",
    )  # fmt: skip
    until(lambda: made.link.subscribed, made)
    yield made
    made.close()


@pytest.fixture
def say(world: World, box: Rig) -> Say:
    def said(*words: str, user: str = "boss") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mqtt.fleet", "command", *words, *world.options(user)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=DEPLOY.parent)
        until(lambda: process.poll() is not None, box)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    return said


def test_an_order_is_done_and_its_result_printed(say: Say, box: Rig) -> None:
    told = say("box-1", "limits", "steps=3", "queue=50")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[1:] == ["steps 3", "queue 50"]
    assert box.journal.limits() == {"steps": 3, "queue": 50}
    told = say("box-1", "diagnostics", "--json")
    assert json.loads(told.stdout)["facts"]["engine_up"] == 1.0


def test_what_the_box_cannot_do_is_its_sentence(say: Say) -> None:
    told = say("box-1", "activate", "bundle=third-1.0.0")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("No bundle third-1.0.0 is installed")
    assert told.stderr.count("\n") == 1


def test_a_user_without_the_right_and_a_box_that_is_not_there_are_sentences(say: Say) -> None:
    told = say("box-1", "diagnostics", user="asker")
    assert (told.returncode, "provision an operator" in told.stderr) == (2, True)
    told = say("box-2", "diagnostics", "--timeout", "1")
    assert (told.returncode, "is box-2 online" in told.stderr) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ["command", "box-1", "diagnostics"],
        ["command", "box-1", "fly", "--owner-key", "{key}"],
        ["command", "pools", "diagnostics", "--owner-key", "{key}"],
        ["command", "box-1", "limits", "steps", "--owner-key", "{key}"],
        ["command", "box-1", "diagnostics", "--owner-key", "{key}.pub"],
        ["command", "box-1", "diagnostics", "--owner-key", "{key}", "--timeout", "nan"],
        ["command", "box-1", "diagnostics", "--owner-key", "{key}", "--broker", "http://x"],
        ["owner-key", "{key}"],
        ["owner-key", "/nowhere/owner"],
    ],
)
def test_bad_input_ends_with_one_sentence(
    world: World, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENSUENO_FLEET_OWNER_KEY", raising=False)
    assert main([word.format(key=world.key) for word in words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_private_key_is_for_its_owner_alone(world: World) -> None:
    assert world.key.stat().st_mode & 0o077 == 0


def test_numbers_are_numbers_and_all_else_is_words() -> None:
    found: dict[str, Any] = {"steps": 3, "bundle": "a-1.0", "x": "", "y": "a=b"}
    assert arguments_of(["steps=3", "bundle=a-1.0", "x=", "y=a=b"]) == found
