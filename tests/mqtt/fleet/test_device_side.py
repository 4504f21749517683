"""A box as it ships against the broker that ships: TLS, a certificate of its own, and no right but its own.

All files are those that `python -m mqtt.fleet provision` wrote; only the folder they are read from is another.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance import config
from appliance.pipeline.text_to_image import TextToImage
from mqtt import topics
from mqtt.address import Address, address_of
from mqtt.connection import Closed, Connection, Event, Opened
from mqtt.fleet.broker import Broker
from mqtt.fleet.certificates import Authority, write
from mqtt.fleet.collector import GROUP, Collector
from mqtt.fleet.counters import Counters
from mqtt.fleet.provision import Pki
from mqtt.fleet.store import Store
from tests.mqtt.fleet.services import ShippedBroker, shipped_broker
from tests.mqtt.rig import Rig, until

POOL = "garden"


@dataclass
class World:
    """The broker, and what its authority gave out."""

    broker: ShippedBroker
    pki: Path

    def settings(self, name: str, folder: Path | None = None) -> dict[str, Any]:
        """What a user's mqtt.toml says, read from where it lies."""
        given = config._read(self.file(name))
        return {key: value for key, value in given.items() if key != "mqtt"} | (
            {} if folder is None else {"mqtt_certificate": folder / "cert.pem", "mqtt_key": folder / "key.pem"}
        )

    def file(self, name: str) -> Path:
        """The mqtt.toml, with this machine's folder in place of the device's."""
        file = self.pki / name / "mqtt.toml"
        file.write_text(file.read_text().replace("/etc/ensueno/mqtt", str(self.pki / name)))
        return file

    def certificate(self, folder: Path, authority: Authority, days: float) -> Path:
        """Another certificate in the name of box-1."""
        key, certificate = authority.issue("box-1", days=days)
        write(folder / "key.pem", key)
        write(folder / "cert.pem", certificate)
        return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("shipped")
    pki = Pki(folder / "pki")
    pki.broker(["127.0.0.1"])
    pki.user("box-1", "device", pools=[POOL])
    pki.user("asker", "requester")
    pki.user("collector-1", "collector")
    pki.user("gone", "device")
    pki.revoke("gone")
    with shipped_broker(folder / "broker", folder / "pki") as broker:
        yield World(broker, folder / "pki")


@pytest.fixture
def box(world: World, tmp_path: Path, tiny_folder: Path, pipeline: TextToImage) -> Iterator[Rig]:
    given = world.settings("box-1")
    name, pool = given.pop("mqtt_device"), given.pop("mqtt_pool")
    made = Rig(tmp_path / "box", tiny_folder, pipeline, world.broker.url, name, pool, **given)
    until(lambda: made.link.subscribed and made.link.pool is not None and made.link.pool.shares, made)
    yield made
    made.close()


def ask(world: World, out: Path, *options: str) -> subprocess.Popen[str]:
    """`ensueno generate` over the broker, as the user `asker`."""
    command = [sys.executable, "-m", "appliance", "generate", "an apple", "--mqtt", world.broker.url, "--json"]
    command += ["--config", str(world.file("asker")), "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("to", [("--device", "box-1"), ("--pool", POOL)])
def test_a_job_becomes_a_picture_over_tls_with_the_rights_that_ship(
    to: tuple[str, str], world: World, box: Rig, tmp_path: Path
) -> None:
    asked = ask(world, tmp_path / "picture.png", *to, "--priority", "high")
    until(lambda: asked.poll() is not None, box)
    stdout, stderr = asked.communicate()
    assert asked.returncode == 0, stderr
    assert json.loads(stdout)["images"][0]["path"] == str(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    if to[0] == "--pool":  # claims go by the main connection: its rights hold them
        assert box.link.pool is not None
        assert box.link.pool.claims.holder(box.journal.gallery.images()[0].job) == ("box-1", 1)


@dataclass
class Collecting:
    """A collector's turn, beside a box's."""

    collector: Collector

    def turn(self) -> None:
        self.collector.turn(0.01)


def test_telemetry_is_kept_and_forgotten_over_tls_with_the_rights_that_ship(
    world: World, box: Rig, tmp_path: Path
) -> None:
    given = world.settings("collector-1")
    address = Address.of(world.broker.url, *(Path(given[f"mqtt_{name}"]) for name in ("ca", "certificate", "key")))
    counters = Counters()
    with (
        closing(Store(tmp_path / "collector.db", reserve=0)) as store,
        closing(Broker(address, "collector-1", [topics.shared(GROUP, topics.ALL_TELEMETRY)])) as connection,
    ):
        collecting = Collecting(Collector(connection, store, counters))
        box.link._sender._patience = 0.1  # it spoke before there was a collector
        for _ in range(5):
            box.link._telemetry.event("test")
        until(lambda: connection.ready and box.link._outbox.records == 0, box, collecting)
        assert counters.value("records_total", outcome="fresh") >= 6
        assert counters.value("refused_total", reason="sample") == 0  # the collector knows all that a box tells
        assert store.known() == box.link._outbox.next_seq - 1


def first_word(address: Address) -> Event:
    connection = Connection(address, "knocking")
    with closing(connection):
        events: list[Event] = []

        class Turning:
            def turn(self) -> None:
                events.extend(connection.turn(0.0))

        until(lambda: events, Turning())
    return events[0]


Folder = Callable[[World, Path], "Path | None"]


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        (lambda world, tmp: world.certificate(tmp / "over", Authority(world.pki), -0.5), "is expired"),
        (lambda world, tmp: world.certificate(tmp / "other", Authority(tmp / "pki"), 1), "another authority made"),
        (lambda world, tmp: world.pki / "gone", "was revoked"),
    ],
    ids=["expired", "another authority's", "revoked"],
)
def test_a_certificate_that_is_refused_is_told_in_one_sentence(
    folder: Folder, said: str, world: World, tmp_path: Path
) -> None:
    settings = config.load(world.settings("box-1", folder(world, tmp_path)))
    word = first_word(address_of(settings, world.broker.url))
    assert isinstance(word, Closed)
    assert word.refused
    assert said in word.reason
    assert "SSL" not in word.reason


def test_no_certificate_is_told_in_one_sentence(world: World) -> None:
    word = first_word(Address.of(world.broker.url, world.pki / "ca.crt"))
    assert word == Closed("the broker asks for our certificate: name mqtt_certificate and mqtt_key", refused=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves the refused socket open
def test_a_broker_of_another_authority_gets_no_word_from_the_box(world: World, tmp_path: Path) -> None:
    Authority(tmp_path / "pki")
    settings = config.load(world.settings("box-1") | {"mqtt_ca": tmp_path / "pki" / "ca.crt"})
    word = first_word(address_of(settings, world.broker.url))
    assert isinstance(word, Closed)
    assert word.reason == "the broker's certificate is not vouched for: check mqtt_ca and the broker's name"


def test_the_good_certificate_gets_in(world: World) -> None:
    settings = config.load(world.settings("box-1"))
    assert isinstance(first_word(address_of(settings, world.broker.url)), Opened)


def test_the_requester_ends_with_that_sentence_and_status_2(world: World, tmp_path: Path) -> None:
    Authority(tmp_path / "pki")
    file = tmp_path / "mqtt.toml"
    file.write_text(world.file("asker").read_text().replace(f"{world.pki / 'asker'}/ca.crt", f"{tmp_path}/pki/ca.crt"))
    asked = ask(world, tmp_path / "picture.png", "--device", "box-1", "--config", str(file))
    _, stderr = asked.communicate(timeout=60)
    assert asked.returncode == 2
    assert stderr.startswith(f"No connection to {world.broker.url}: the broker's certificate is not vouched for")
    assert len(stderr.splitlines()) == 1
