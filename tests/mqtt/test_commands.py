"""Commands: the owner's alone, for this box, once, in time; each acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import BadInput
from mqtt import topics
from mqtt.commands import Commands
from mqtt.signing import signed
from mqtt.store import Store
from tests.conftest import Clock
from tests.mqtt.rig import until

Make = Callable[..., Any]
KEY = Ed25519PrivateKey.generate()


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "owner.pem"
    path.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


class Box:
    """Commands with one deed that counts."""

    def __init__(self, folder: Path, public: Path) -> None:
        self.done = 0
        self.clock = Clock()
        self.commands = Commands("box", public, Store(folder / "link.db"), {"diagnostics": self.deed}, self.clock)

    def deed(self, arguments: Any) -> tuple[str, dict[str, Any]]:
        self.done += 1
        return "Done.", {"done": self.done}

    def command(self, **changes: Any) -> dict[str, Any]:
        plain = {"device": "box", "name": "diagnostics", "nonce": "n" * 16, "expires": self.clock.now + 60}
        return plain | changes


@pytest.fixture
def box(tmp_path: Path, public: Path) -> Box:
    return Box(tmp_path, public)


def test_it_is_done_once_and_a_repeat_gets_the_same_result(box: Box) -> None:
    payload = signed(box.command(), KEY)
    begun = box.commands.take(payload)
    assert begun is not None
    assert begun.detail == "Begun."
    result = until(box.commands.results)[0]
    assert (result.done, result.facts) == (True, {"done": 1})
    assert box.commands.take(payload) == result
    assert box.done == 1


def test_a_link_that_died_in_the_middle_does_not_do_it_again(box: Box, tmp_path: Path, public: Path) -> None:
    payload = signed(box.command(), KEY)
    box.commands.take(payload)
    after = Box(tmp_path, public)
    answer = after.commands.take(payload)
    assert answer is not None
    assert (answer.done, answer.detail.split(":")[0]) == (False, "It is not known whether it was done")
    assert after.commands.results() == []
    assert after.done == 0


def test_a_deed_that_meets_an_error_of_the_system_is_a_sentence_and_ends_nothing(tmp_path: Path, public: Path) -> None:
    box = Box(tmp_path, public)

    def gone(arguments: Any) -> tuple[str, dict[str, Any]]:
        raise ProcessLookupError(3, "No such process")

    box.commands = Commands("box", public, Store(tmp_path / "other.db"), {"diagnostics": gone}, box.clock)
    payload = signed(box.command(), KEY)
    box.commands.take(payload)
    (result,) = until(box.commands.results)
    assert (result.done, "No such process" in result.detail) == (False, True)
    assert box.commands.take(payload) == result


@pytest.mark.parametrize(
    "change", [{"device": "another"}, {"expires": 999_999.0}, {"expires": 1_000_000.0 + 90_000}, {"nonce": "short"}]
)
def test_what_is_not_for_now_and_here_is_refused(box: Box, change: dict[str, Any]) -> None:
    assert box.commands.take(signed(box.command(**change), KEY)) is None
    assert (box.commands.refused, box.done) == (1, 0)


def test_another_key_or_one_changed_byte_is_refused(box: Box) -> None:
    payload = signed(box.command(), KEY)
    assert box.commands.take(signed(box.command(), Ed25519PrivateKey.generate())) is None
    for changed in (payload.replace(b"diagnostics", b"rollback"), payload.replace(b'"v"', b'"w"'), payload[:-9]):
        assert box.commands.take(changed) is None
    assert box.done == 0


def test_a_key_of_another_kind_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(BadInput, match="is no Ed25519 public key"):
        Commands("box", tmp_path / "key.pem", Store(tmp_path / "link.db"), {})


def test_over_the_broker_the_owner_reads_how_the_box_is(
    make_box: Make, make_ear: Make, name: str, public: Path
) -> None:

    ear = make_ear(topics.command_result(name, "+"))
    box = make_box(name, mqtt_owner_key=public)
    nonce = "n" * 20
    command = {"device": name, "name": "diagnostics", "nonce": nonce, "expires": time.time() + 60}
    ear.say(topics.commands(name), signed(command, KEY))
    answers = until(lambda: [one for one in ear.bodies(topics.command_result(name, nonce)) if one["done"]], box, ear)
    assert answers[0]["facts"]["engine_up"] == 1.0


def test_without_the_owners_key_the_box_does_not_even_listen(make_box: Make, name: str) -> None:
    assert topics.commands(name) not in make_box(name).link._on_topic
