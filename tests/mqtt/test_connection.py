"""A connection over a bad network and after a dead thread: noticed, rebuilt, nothing lost that was on the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BadInput
from mqtt import connection, topics
from mqtt.address import Address
from mqtt.connection import Closed, Opened
from tests.mqtt.broker import Broker
from tests.mqtt.proxy import Proxy
from tests.mqtt.rig import until

Make = Callable[..., Any]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://x",
        "mqtt://",
        "mqtt://host:0",
        "mqtt://host:99999",
        "mqtt://host/topic",
        "mqtt://[::1",
        "mqtt://a..b",
    ],
)
def test_an_address_that_is_none_is_a_sentence(url: str) -> None:
    with pytest.raises(BadInput, match="The broker must look like"):
        Address.of(url)


def test_a_token_comes_from_a_file_and_certificates_want_encryption(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    address = Address.of("mqtts://me@host", token_file=tmp_path / "token")
    assert (address.port, address.username, address.password) == (8883, "me", "secret")
    with pytest.raises(BadInput, match="write mqtts://"):
        Address.of("mqtt://host", ca=tmp_path / "token")
    with pytest.raises(BadInput, match="write mqtts://"):
        Address.of("mqtt://host", token_file=tmp_path / "token")
    (tmp_path / "noise").write_bytes(b"\xff\xfe")
    for none in (tmp_path, tmp_path / "noise"):
        with pytest.raises(BadInput, match="holds no token"):
            Address.of("mqtts://host", token_file=none)
    with pytest.raises(BadInput, match="cannot be read"):
        Address.of("mqtts://host", ca=tmp_path / "missing")


@pytest.mark.parametrize("trouble", ["reset", "stall", "half_open", "slice"])
def test_a_job_survives_a_network_that(
    trouble: str, make_box: Make, make_ear: Make, mosquitto: Broker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble in ("stall", "half_open"):
        monkeypatch.setattr(connection, "KEEP_ALIVE", 1)
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(connection, "_LONGEST_PAUSE", 0.5)
    with Proxy(mosquitto.port) as proxy:
        box, ear = make_box(name, url=proxy.url), make_ear(topics.reply(name))
        box.draws = False
        ear.say(topics.jobs(name), {"id": "a", "prompt": "an apple"}, response_topic=topics.reply(name))
        until(lambda: ear.kinds(topics.reply(name)), box, ear)
        lives = box.link.connection.lives
        if trouble == "slice":
            proxy.mode = "slice"
        elif trouble == "reset":
            proxy.reset()
        else:
            proxy.mode = "half_open" if trouble == "half_open" else "stall"
            if trouble == "half_open":
                proxy.reset()
            until(lambda: box.link.connection.lives > lives, box, ear)
            proxy.mode = "pass"
        box.draws = True
        until(lambda: "end" in ear.kinds(topics.reply(name)), box, ear)
    assert len(box.journal.gallery.images()) == 1


def test_what_is_given_faster_than_the_network_takes_it_arrives_whole(make_ear: Make, name: str) -> None:
    topic = f"elsewhere/{name}"
    speaker, listener = make_ear(), make_ear(topic)
    given = [bytes([number]) * (1_300_000 + number) for number in range(19)]
    for payload in given:
        speaker.say(topic, payload)
    until(lambda: len(listener.heard) == len(given), listener)
    assert [one.payload for one in listener.heard] == given
    assert speaker.connection.lives == 1


def test_a_dead_and_a_silent_thread_are_noticed_and_another_life_begins(
    make_box: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.05)
    box = make_box(name)
    link = box.link.connection

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("as a bug in a library would")

    monkeypatch.setattr(link._life.client, "loop", fail)
    until(lambda: link.lives == 2 and link.is_open, box)
    hung, goes_on = threading.Event(), threading.Event()

    def hang(timeout: float) -> int:
        hung.set()
        goes_on.wait(60)  # as in a system call that never comes back: the thread lives, and does nothing
        return 0

    monkeypatch.setattr(link._life.client, "loop", hang)
    until(hung.is_set, box)
    last = link._life.beat
    assert not link.turn(last + connection.SILENCE - 0.1)
    assert link.lives == 2
    (closed,) = link.turn(last + 15.001)
    assert closed == Closed("its thread was silent")
    link._next = 0.0  # the time that the test spoke of has not come
    until(lambda: link.lives == 3 and link.is_open, box)
    goes_on.set()


def test_the_watchdog_is_fed_by_a_broker_that_answers_and_not_by_one_that_is_silent(
    make_box: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[float] = []
    monkeypatch.setattr("mqtt.link.notify.working", lambda: fed.append(1.0))
    monkeypatch.setattr(connection, "KEEP_ALIVE", 1)
    box = make_box(name)
    heard = box.link.connection._life.heard
    until(lambda: box.link.connection._life.heard > heard + 1, box)  # nothing is said: a ping came back
    fed.clear()
    box.turn()
    assert fed
    box.link.connection._life.heard -= connection.SILENCE + 2 * connection.KEEP_ALIVE + 1
    fed.clear()
    box.link.turn([], time.monotonic())
    assert not fed


def test_who_leaves_for_good_is_forgotten_and_who_closes_is_not(own_mosquitto: Broker) -> None:
    def known(name: str) -> bool:
        again = connection.Connection(Address.of(own_mosquitto.url), name)
        found: list[bool] = []

        def opened() -> bool:
            found.extend(one.session_present for one in again.turn(time.monotonic()) if isinstance(one, Opened))
            return bool(found)

        until(opened)
        parts[name](again)
        return found[0]

    parts = {"leaver": connection.Connection.leave, "closer": connection.Connection.close}
    assert [known(name) for name in ("leaver", "leaver", "closer", "closer")] == [False, False, False, True]


def test_a_broker_that_was_killed_and_forgot_everything_is_served_again(
    make_box: Make, make_ear: Make, own_mosquitto: Broker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.05)
    box, ear = make_box(name, url=own_mosquitto.url), make_ear(topics.reply(name), url=own_mosquitto.url)
    box.draws = False
    ear.say(topics.jobs(name), {"id": "a", "prompt": "an apple"}, response_topic=topics.reply(name))
    until(lambda: ear.kinds(topics.reply(name)), box, ear)
    own_mosquitto.kill()
    until(lambda: not box.link.connection.is_open and not ear.connection.is_open, box, ear)
    ear.ready = False
    own_mosquitto.start()
    until(lambda: ear.ready and box.link.subscribed, box, ear)
    box.draws = True
    until(lambda: "end" in ear.kinds(topics.reply(name)), box, ear)
