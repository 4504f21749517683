"""A link whose disk is full to the last byte: it lives, begins again, and says what it cannot take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import NoRoom, Unavailable
from mqtt import topics
from mqtt.messages import Ack
from mqtt.signing import signed
from tests.mqtt.rig import until
from torture import full

Make = Callable[..., Any]
KEY = Ed25519PrivateKey.generate()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one, where it may be mounted."""
    try:
        with full.small_disk(tmp_path / "disk"):
            pass
    except Unavailable as error:
        pytest.skip(str(error))
    yield tmp_path / "disk"
    full.unmount(tmp_path / "disk")


@pytest.fixture
def owner(tmp_path: Path) -> Path:
    path = tmp_path / "owner.pem"
    path.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def test_a_full_disk_ends_no_link_and_refuses_in_a_sentence(
    disk: Path, make_box: Make, make_ear: Make, name: str, owner: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reply, results = topics.reply(name), topics.command_result(name, "+")
    ear = make_ear(reply, results)
    box = make_box(name, folder=disk.name, pool=f"pool-{name}", mqtt_owner_key=owner)
    box.draws = False
    ear.say(topics.jobs(name), {"id": "before", "prompt": "an apple"}, response_topic=reply)
    until(lambda: ear.kinds(reply) == ["accepted"] and box.link._outbox.records, box, ear)
    full.fill(disk / "filler")
    with pytest.raises(NoRoom):
        box.link._store.count("session")

    ear.say(topics.ack(name), Ack(session=box.link._store.boot, upto=1).as_bytes())
    command = {"device": name, "name": "diagnostics", "nonce": "n" * 16, "expires": time.time() + 60}
    ear.say(topics.commands(name), signed(command, KEY))
    until(lambda: ear.bodies(topics.command_result(name, "n" * 16)), box, ear)
    assert ear.bodies(topics.command_result(name, "n" * 16))[0]["detail"].startswith("The disk is full")
    for where, mark in ((topics.jobs(name), {}), (topics.pool_jobs(f"pool-{name}"), {"pool": f"pool-{name}"})):
        count = len(ear.heard)
        until(lambda: box.link.pool.shares, box)
        ear.say(where, {"id": "full", "prompt": "an apple", **mark}, response_topic=reply)
        until(lambda: len(ear.heard) > count, box, ear)  # noqa: B023 it has come to pass before the next round
        assert (ear.bodies(reply)[-1]["reason"], ear.bodies(reply)[-1]["retry"]) == ("no_room", True)
    assert sum("The disk is full" in line and "Telemetry" not in line for line in caplog.messages) <= 3  # not each turn

    box.die()
    box.rise()
    until(lambda: box.link.subscribed, box)
    (disk / "filler").unlink()
    box.draws = True
    until(lambda: "end" in ear.kinds(reply), box, ear)
    assert ear.bodies(reply)[-1]["id"] == "before"


def test_an_end_that_the_full_disk_lets_nobody_note_is_told_once(
    disk: Path, make_box: Make, make_ear: Make, name: str
) -> None:
    ear = make_ear(topics.reply(name))
    box = make_box(name, folder=disk.name)
    box.draws = False
    ear.say(topics.jobs(name), {"id": "a", "prompt": "an apple"}, response_topic=topics.reply(name))
    until(lambda: ear.kinds(topics.reply(name)) == ["accepted"], box, ear)
    until(lambda: (box.driver.turn(), box.journal.job("a").state.ended)[1])
    full.fill(disk / "filler")
    until(lambda: "end" in ear.kinds(topics.reply(name)), box, ear)
    for _ in range(50):
        box.link._ends.look_soon()
        box.turn()
        ear.turn()
    (disk / "filler").unlink()
    until(lambda: not box.link._ends.open, box, ear)
    assert ear.kinds(topics.reply(name)).count("end") == 1
