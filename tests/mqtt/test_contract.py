"""`asyncapi.yaml` is what the code says, and what is said on the wire is in it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped,unused-ignore]
import pytest

from mqtt import topics
from mqtt.contract import as_yaml, document
from mqtt.messages import Ack, Claim
from mqtt.signing import new_key, private_key, signed
from tests.mqtt import said
from tests.mqtt.rig import until

Make = Callable[..., Any]


def test_the_file_is_what_the_code_says() -> None:
    assert said.FILE.read_text(encoding="utf-8") == as_yaml(document()), "python -m mqtt.contract > asyncapi.yaml"
    assert said.contract() == json.loads(json.dumps(document()))


def test_every_reference_of_the_file_leads_somewhere() -> None:
    whole = said.contract()
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', said.FILE.read_text(encoding="utf-8")):
        found: Any = whole
        for part in reference.split("/"):
            found = found[part]


def test_all_that_is_said_on_the_wire_is_in_the_file_and_valid(
    make_box: Make, make_ear: Make, name: str, tmp_path: Path
) -> None:
    pool, reply = f"pool-{name}", topics.reply(name)
    ear = make_ear("ensueno/#", "homeassistant/#")
    public = new_key(tmp_path / "owner")
    box = make_box(name, pool=pool, mqtt_owner_key=public)
    until(lambda: box.link.pool.shares, box)
    owned = Claim(job="d", device="another", epoch=1, lease=60)
    ear.say(topics.claim(pool, "d"), owned.as_bytes(), retain=True)
    ear.say(topics.jobs(name), {"id": "a", "prompt": "an apple", "size": "96x64", "seed": 7}, response_topic=reply)
    ear.say(topics.jobs(name), {"id": "b", "prompt": "an apple", "steps": 99_999}, response_topic=reply)
    for job_id in ("c", "d"):
        ear.say(topics.pool_jobs(pool), {"id": job_id, "prompt": "an apple", "pool": pool}, response_topic=reply)
    ear.say(topics.ack(name), Ack(session=box.link._store.boot, upto=1, also=[(3, 4)]).model_dump())
    command = {"device": name, "name": "diagnostics", "nonce": "n" * 16, "expires": time.time() + 60}
    ear.say(topics.commands(name), signed(command, private_key(tmp_path / "owner")))
    ear.say(topics.home_set(name, "prompt"), b"una manzana")
    ear.say(topics.HOME_BIRTH, b"online")
    with box.link._store.write() as db:
        db.execute("INSERT INTO lost VALUES (900, 901)")
    box.link._telemetry.event("trouble", kind="hot")

    def told() -> bool:
        records = [one for batch in ear.bodies(topics.telemetry(name)) for one in batch]
        words = {body["kind"] for body in ear.bodies(reply)}
        return (
            {one["kind"] for one in records} == {"sample", "event", "lost"}
            and words >= {"accepted", "rejected", "claimed", "end"}
            and any(body["done"] for body in ear.bodies(topics.command_result(name, "n" * 16)))
            and any(body["ended"] for body in ear.bodies(topics.claim(pool, "c")))
            and any(one.topic == topics.home(name, "picture") for one in ear.heard)
        )

    until(told, box, ear)
    mine = [one for one in ear.heard if name in one.topic or one.topic == topics.HOME_BIRTH]
    for delivery in mine:
        said.check(delivery.topic, delivery.payload)
    assert {said.channel_of(one.topic) for one in mine} == set(said.contract()["channels"])


def test_what_is_not_in_the_file_is_found_out(name: str) -> None:
    for topic, payload in [
        (topics.status(name, "a"), b'{"kind": "end"}'),
        (topics.telemetry(name), b"[{}]"),
        (topics.home(name, "state"), b'{"prompt": 1}'),
        (topics.home(name, "picture"), b"GIF"),
        (topics.home_discovery(name), b"{}"),
        (topics.command_result(name, "n"), b'{"done": "yes"}'),
    ]:
        with pytest.raises((AssertionError, jsonschema.ValidationError)):
            said.check(topic, payload)
    with pytest.raises(AssertionError):
        said.channel_of(f"ensueno/v1/{name}/elsewhere")


def test_a_wish_says_what_may_be_wished() -> None:
    assert {"id", "prompt", "seed", "steps", "size", "count", "priority"} <= set(
        said.contract()["components"]["schemas"]["Wish"]["properties"]
    )


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
