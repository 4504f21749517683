"""`asyncapi.yaml` is what the code says, and what is said on the wire is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped,unused-ignore]
import yaml

from mqtt import topics
from mqtt.contract import as_yaml, document
from mqtt.messages import Ack
from tests.mqtt.rig import until

FILE = Path(__file__).resolve().parents[2] / "asyncapi.yaml"
Make = Callable[..., Any]


@cache
def contract() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return read


def channel_of(topic: str) -> str:
    """The name of the one channel whose address the topic has."""
    found = []
    for name, channel in contract()["channels"].items():
        pattern = re.sub(r"\\\{[a-zA-Z]+\\\}", "[^/]+", re.escape(channel["address"]))
        if re.fullmatch(pattern, topic):
            found.append(name)
    assert len(found) == 1, (topic, found)
    return str(found[0])


def validate(channel: str, payload: Any) -> None:
    whole = contract()
    allowed = [whole["components"]["messages"][name]["payload"] for name in whole["channels"][channel]["messages"]]
    jsonschema.Draft202012Validator({"anyOf": allowed, "components": whole["components"]}).validate(payload)


def test_the_file_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == as_yaml(document()), "python -m mqtt.contract > asyncapi.yaml"
    assert contract() == json.loads(json.dumps(document()))


def test_every_reference_of_the_file_leads_somewhere() -> None:
    whole = contract()
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', FILE.read_text(encoding="utf-8")):
        found: Any = whole
        for part in reference.split("/"):
            found = found[part]


def test_all_that_is_said_on_the_wire_is_in_the_file_and_valid(make_box: Make, make_ear: Make, name: str) -> None:
    pool = f"pool-{name}"
    ear = make_ear("ensueno/#", "homeassistant/#")
    box = make_box(name, pool=pool)
    until(lambda: box.link.pool.shares, box)
    reply = topics.reply(name)
    ear.say(topics.jobs(name), {"id": "a", "prompt": "an apple"}, response_topic=reply)
    ear.say(topics.jobs(name), {"id": "b", "prompt": "an apple", "steps": 0}, response_topic=reply)
    ear.say(topics.pool_jobs(pool), {"id": "c", "prompt": "an apple", "pool": pool}, response_topic=reply)
    session = box.link._store.boot
    ear.say(topics.ack(name), Ack(session=session, upto=1, also=[(3, 4)]).model_dump())
    until(lambda: ear.kinds(reply).count("end") == 2 and ear.bodies(topics.telemetry(name)), box, ear)
    until(lambda: any(body["ended"] for body in ear.bodies(topics.claim(pool, "c"))), box, ear)
    mine = [one for one in ear.heard if name in one.topic and one.payload]
    for delivery in mine:
        channel = channel_of(delivery.topic)
        if not channel.startswith("home"):
            validate(channel, json.loads(delivery.payload))
    assert {"jobs", "status", "replies", "presence", "telemetry", "ack", "poolJobs", "claims"} <= {
        channel_of(one.topic) for one in mine
    }


def test_no_prompt_and_no_picture_is_in_telemetry(make_box: Make, make_ear: Make, name: str) -> None:
    ear = make_ear(topics.telemetry(name), topics.reply(name))
    box = make_box(name)
    ear.say(topics.jobs(name), {"id": "a", "prompt": "a secret wish"}, response_topic=topics.reply(name))
    until(lambda: "end" in ear.kinds(topics.reply(name)), box, ear)
    box.link._telemetry._next = 0.0
    count = len(ear.heard)
    until(lambda: len(ear.heard) > count, box, ear)
    said = b"".join(one.payload for one in ear.heard if one.topic == topics.telemetry(name))
    assert b"secret" not in said
    assert b"iVBOR" not in said
    assert b"jobs_finished_total" in said
