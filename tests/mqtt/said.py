"""What is said on the wire, held to `asyncapi.yaml`; a device's discovery, to Home Assistant's documentation."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped,unused-ignore]
import yaml

from tests.mqtt import home_assistant

FILE = Path(__file__).resolve().parents[2] / "asyncapi.yaml"
OURS = re.compile("(ensueno|homeassistant)/")


@cache
def contract() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return read


@cache
def channel_of(topic: str) -> str:
    """The name of the one channel whose address the topic has."""
    found = []
    for name, channel in contract()["channels"].items():
        pattern = re.sub(r"\\\{[a-zA-Z]+\\\}", "[^/]+", re.escape(channel["address"]))
        if re.fullmatch(pattern, topic):
            found.append(name)
    assert len(found) == 1, (topic, found)
    return str(found[0])


def by_a_device(channel: str) -> bool:
    return bool(contract()["operations"][channel]["action"] == "send")


@cache
def _validator(channel: str) -> Any:
    whole = contract()
    allowed = [whole["components"]["messages"][name]["payload"] for name in whole["channels"][channel]["messages"]]
    return jsonschema.Draft202012Validator({"anyOf": allowed, "components": whole["components"]})


def check(topic: str, payload: bytes) -> None:
    """Raises where the payload is none of its topic's messages. An empty one takes back what the broker kept."""
    channel = channel_of(topic)
    names = contract()["channels"][channel]["messages"]
    if not payload:
        return
    if "HomePicture" in names:
        assert payload.startswith(b"\x89PNG")
    elif "HomeWord" in names:
        payload.decode("utf-8")
    else:
        _validator(channel).validate(json.loads(payload))
    if "HomeDiscovery" in names:
        jsonschema.validate(json.loads(payload), home_assistant.DISCOVERY)


def check_devices(topic: str, payload: bytes) -> None:
    """The same for what devices say: a test that plays another may say anything."""
    if OURS.match(topic) and by_a_device(channel_of(topic)):
        check(topic, payload)
