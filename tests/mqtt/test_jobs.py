"""Jobs over a real broker: accepted on the disk, answered where it was asked, refused with a reason."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.job import JobState
from mqtt import topics
from mqtt.address import Address
from mqtt.connection import Delivery
from mqtt.messages import MAX_WISH
from tests.mqtt.broker import broker
from tests.mqtt.rig import Ear, Rig, until

Make = Callable[..., Any]


@pytest.fixture
def box(make_box: Make, name: str) -> Rig:
    made: Rig = make_box(name)
    return made


@pytest.fixture
def reply(name: str) -> str:
    return topics.reply(name)


@pytest.fixture
def ear(make_ear: Make, box: Rig, reply: str) -> Ear:
    made: Ear = make_ear(reply, topics.statuses(box.name))
    return made


def test_the_end_comes_with_the_picture_and_the_askers_correlation(box: Rig, ear: Ear, reply: str) -> None:
    ear.say(topics.jobs(box.name), {"id": "a", "prompt": "an apple"}, response_topic=reply, correlation=b"\x00\xff")
    until(lambda: "end" in ear.kinds(reply), box, ear)
    assert {one.correlation for one in ear.heard if one.topic == reply} == {b"\x00\xff"}
    end = ear.bodies(reply)[-1]
    assert end["state"] == "finished"
    assert base64.b64decode(end["images"][0]["png"]).startswith(b"\x89PNG")
    assert ear.kinds(reply)[0] == "accepted"


def test_on_the_status_topic_that_others_read_there_is_an_address_and_no_picture(box: Rig, ear: Ear) -> None:
    ear.say(topics.jobs(box.name), {"id": "a", "prompt": "an apple"})
    until(lambda: "end" in ear.kinds(topics.status(box.name, "a")), box, ear)
    image = ear.bodies(topics.status(box.name, "a"))[-1]["images"][0]
    assert "png" not in image
    assert image["url"].endswith(f"/v1/images/{image['id']}.png")


def new_end(ear: Ear, before: int, topic: str) -> bool:
    return any(one.topic == topic and b'"end"' in one.payload for one in ear.heard[before:])


def test_asking_again_gives_the_same_end_and_draws_nothing(box: Rig, ear: Ear, reply: str) -> None:
    for _ in range(3):
        before = len(ear.heard)
        ear.say(topics.jobs(box.name), {"id": "a", "prompt": "an apple"}, response_topic=reply)
        until(partial(new_end, ear, before, reply), box, ear)
    ends = [one.payload for one in ear.heard if one.topic == reply and b'"end"' in one.payload]
    assert len(set(ends)) == 1
    assert len(box.journal.gallery.images()) == 1


def test_a_message_sent_many_times_at_once_is_one_job(box: Rig, ear: Ear) -> None:
    for _ in range(10):
        ear.say(topics.jobs(box.name), {"id": "a", "prompt": "an apple"})
    until(lambda: len(ear.bodies(topics.status(box.name, "a"))) >= 10, box, ear)
    assert sum(box.journal.counts().values()) == 1


def test_an_expired_job_never_runs(box: Rig, ear: Ear, reply: str) -> None:
    box.draws = False
    ear.say(topics.jobs(box.name), {"id": "a", "prompt": "an apple"}, response_topic=reply, expiry=1)
    until(lambda: "accepted" in ear.kinds(reply), box, ear)
    too_late = time.time() + 1.1
    until(lambda: time.time() > too_late, box, ear)
    box.draws = True
    until(lambda: "end" in ear.kinds(reply), box, ear)
    assert ear.bodies(reply)[-1]["state"] == "expired"
    assert box.journal.gallery.images() == []


def test_a_queued_job_can_be_cancelled(box: Rig, ear: Ear, reply: str) -> None:
    box.draws = False
    ear.say(topics.jobs(box.name), {"id": "a", "prompt": "an apple"}, response_topic=reply)
    ear.say(topics.jobs(box.name), {"id": "a", "kind": "cancel"})
    until(lambda: "end" in ear.kinds(reply), box, ear)
    assert ear.bodies(reply)[-1]["state"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "bad_input"),
        (b"\xff\xfe", "bad_input"),
        (b"[" * 30_000, "bad_input"),
        ({"id": "x"}, "bad_input"),
        ({"id": "x", "prompt": "an apple", "steps": 10**9}, "bad_input"),
        ({"id": "x/../y", "prompt": "an apple"}, "bad_input"),
        ({"id": "x", "v": 2, "prompt": "an apple"}, "bad_version"),
        ({"id": "x", "kind": "cancel"}, "not_found"),
        ({"id": "x", "prompt": "a" * MAX_WISH}, "too_large"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_reason_and_counted(
    box: Rig, ear: Ear, reply: str, body: Any, reason: str
) -> None:
    ear.say(topics.jobs(box.name), body, response_topic=reply)
    until(lambda: ear.bodies(reply), box, ear)
    answer = ear.bodies(reply)[0]
    assert (answer["kind"], answer["reason"], answer["retry"]) == ("rejected", reason, False)
    assert answer["detail"].endswith(".")
    assert box.link._door.refused == {reason: 1}


def test_the_same_id_with_another_wish_is_a_conflict(box: Rig, ear: Ear, reply: str) -> None:
    ear.say(topics.jobs(box.name), {"id": "a", "prompt": "an apple"})
    ear.say(topics.jobs(box.name), {"id": "a", "prompt": "a pear"}, response_topic=reply)
    until(lambda: ear.bodies(reply), box, ear)
    assert ear.bodies(reply)[0]["reason"] == "conflict"


def test_a_full_queue_says_try_again(make_box: Make, make_ear: Make, name: str, reply: str) -> None:
    box, ear = make_box(name, queue_limit=1), make_ear(reply)
    box.draws = False
    for job_id in ("a", "b"):
        ear.say(topics.jobs(name), {"id": job_id, "prompt": "an apple"}, response_topic=reply)
    until(lambda: "rejected" in ear.kinds(reply), box, ear)
    refused = next(body for body in ear.bodies(reply) if body["kind"] == "rejected")
    assert (refused["reason"], refused["retry"]) == ("queue_full", True)


def test_answers_go_nowhere_but_under_replies(box: Rig, ear: Ear) -> None:
    ear.say(topics.jobs(box.name), {"id": "a", "prompt": "an apple"}, response_topic=topics.jobs("another"))
    until(lambda: ear.bodies(topics.status(box.name, "a")), box, ear)
    assert ear.bodies(topics.status(box.name, "a"))[0]["reason"] == "bad_response_topic"
    assert sum(box.journal.counts().values()) == 0


def test_ten_megabytes_do_not_harm_and_the_next_job_is_drawn(box: Rig, ear: Ear, reply: str) -> None:
    publish_bare(ear.url, topics.jobs(box.name), b"x" * 10_000_000)  # the broker keeps it from a link of 256 KiB
    ear.say(topics.jobs(box.name), {"id": "a", "prompt": "an apple"}, response_topic=reply)
    until(lambda: "end" in ear.kinds(reply), box, ear)


def test_an_accepted_job_whose_link_dies_is_told_by_the_next_one(box: Rig, ear: Ear, reply: str) -> None:
    box.draws = False
    ear.say(topics.jobs(box.name), {"id": "a", "prompt": "an apple"}, response_topic=reply, correlation=b"7")
    until(lambda: "accepted" in ear.kinds(reply), box, ear)
    box.die()
    box.draws = True
    box.rise()
    until(lambda: "end" in ear.kinds(reply), box, ear)
    assert ear.heard[-1].correlation == b"7"


def publish_bare(url: str, topic: str, payload: bytes) -> None:
    """QoS 0 in one write: paho copies all that is left of a payload for each piece it sends, 2,400 times here."""

    def packet(kind: int, body: bytes) -> bytes:
        length, left = b"", len(body)
        while left > 127:
            length, left = length + bytes([left & 127 | 128]), left >> 7
        return bytes([kind]) + length + bytes([left]) + body

    def text(value: str) -> bytes:
        return len(value).to_bytes(2, "big") + value.encode()

    with socket.create_connection(("127.0.0.1", Address.of(url).port), timeout=30) as wire:
        wire.sendall(packet(0x10, text("MQTT") + b"\x05\x02\x00\x3c\x00" + text("")))
        assert wire.recv(1) == b"\x20"  # CONNACK
        wire.sendall(packet(0x30, text(topic) + b"\x00" + payload) + b"\xe0\x00")
        while wire.recv(4096):
            pass  # the broker has read all and hangs up


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_PAYLOADS = (
    st.binary(max_size=200)
    | _JSON.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({}, optional={"v": _JSON, "id": _JSON, "kind": _JSON, "pool": _JSON, "prompt": _JSON}).map(
        lambda value: json.dumps(value).encode()
    )
)


@settings(max_examples=60)
@given(payload=_PAYLOADS, response_topic=st.none() | st.text(max_size=40) | st.just("ensueno/v1/replies/a"))
def test_no_payload_and_no_property_harms_the_door(box: Rig, payload: bytes, response_topic: str | None) -> None:
    said: list[str] = []
    refused = sum(box.link._door.refused.values())

    def publish(topic: str, payload: bytes, **more: Any) -> int:
        said.append(topic)
        return 1

    delivery = Delivery(topics.jobs(box.name), payload, False, response_topic, None, None, 0, 0, 1)
    wish = box.link._door.read(publish, delivery)
    if wish is not None:
        box.link._door.take(publish, wish, delivery)
    assert all(topic.startswith((topics.REPLIES, f"ensueno/v1/{box.name}/jobs/")) for topic in said)
    assert said or sum(box.link._door.refused.values()) == refused + 1


# The second limit is Mosquitto's own: it says nothing of it before, and what it answers ends the connection.
@pytest.mark.parametrize(("limit", "jobs", "lives"), [("max_packet_size", 10, 1), ("message_size_limit", 2, 7)])
def test_a_broker_that_takes_no_picture_is_told_where_it_is(
    limit: str,
    jobs: int,
    lives: int,
    tmp_path: Path,
    make_box: Make,
    make_ear: Make,
    name: str,
    reply: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mqtt.connection._FIRST_PAUSE", 0.05)
    monkeypatch.setattr("mqtt.connection._LONGEST_PAUSE", 0.1)
    with broker(tmp_path / "narrow", f"{limit} 8000") as narrow:
        box, ear = make_box(name, url=narrow.url), make_ear(reply, url=narrow.url)
        for number in range(jobs):
            wish = {"id": f"job-{number}", "prompt": "an apple", "size": "96x64", "count": 2}
            ear.say(topics.jobs(name), wish, response_topic=reply)
        until(lambda: len({body["id"] for body in ear.bodies(reply) if body["kind"] == "end"}) == jobs, box, ear)
        ends = [body for body in ear.bodies(reply) if body["kind"] == "end"]
        assert not any("png" in image for end in ends for image in end["images"])
        assert all(image["url"] for end in ends for image in end["images"])
        until(lambda: not box.link._ends.open, box, ear)
        assert box.link.connection.lives <= lives


def test_ends_that_the_broker_forbids_keep_no_others_waiting(
    tmp_path: Path, make_box: Make, make_ear: Make, name: str, reply: str
) -> None:
    rights = tmp_path / "acl"
    rights.write_text("topic readwrite #\ntopic deny ensueno/v1/replies/closed\n")
    with broker(tmp_path / "strict", f"acl_file {rights}") as strict:
        box, ear = make_box(name, url=strict.url), make_ear(reply, url=strict.url)
        for number in range(10):  # more than are told at once
            wish = {"id": f"job-{number}", "prompt": "an apple"}
            ear.say(topics.jobs(name), wish, response_topic=topics.reply("closed"))
        until(lambda: box.journal.counts()[JobState.FINISHED] == 10 and not box.link._ends.open, box, ear)
        ear.say(topics.jobs(name), {"id": "last", "prompt": "an apple"}, response_topic=reply)
        until(lambda: "end" in ear.kinds(reply), box, ear)
        assert box.link.connection.lives == 1
