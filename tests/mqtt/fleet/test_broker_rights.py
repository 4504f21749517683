"""The broker that ships, really running: who gets in, and what each may read and write. Nothing else gets through.

Each right is tried on the wire: a message is published as one user while another, who may read everything, watches.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mqtt import topics
from mqtt.address import Address
from mqtt.fleet import acl
from mqtt.fleet.broker import Broker
from mqtt.fleet.certificates import Authority, write
from mqtt.fleet.provision import Pki
from tests.mqtt.fleet.services import ShippedBroker, shipped_broker
from tests.served import until

WATCHER = "watcher"
USERS = ("box-1", "box-2", "asker", "collector-1", "operator-1", "home-1", "stranger")


@dataclass
class World:
    """The broker, its authority and its users."""

    broker: ShippedBroker
    pki: Path

    def address(self, name: str, folder: Path | None = None) -> Address:
        folder = folder or self.pki / name
        return Address.of(self.broker.url, self.pki / "ca.crt", folder / "cert.pem", folder / "key.pem")

    @contextmanager
    def connected(self, name: str, filters: tuple[str, ...] = (), client_id: str = "") -> Iterator[Broker]:
        with closing(Broker(self.address(name), client_id or f"{name}-test", filters)) as connection:
            until(lambda: connection.receive(1, 0.05) or connection.ready)
            yield connection


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("shipped")
    pki = Pki(folder / "pki")
    pki.broker(["127.0.0.1", "localhost"])
    pki.user("box-1", "device", pools=["garden"])
    pki.user("box-2", "device")
    pki.user("asker", "requester")
    pki.user("collector-1", "collector")
    pki.user("operator-1", "operator")
    pki.user("home-1", "home")
    pki.user("gone", "device")
    for name in (WATCHER, "stranger"):
        pki.user(name, "device")
    blocks = acl.read(pki.rights)
    blocks.pop("stranger")  # a good certificate without any rights
    acl.save(pki.rights, {**blocks, WATCHER: f"user {WATCHER}\ntopic readwrite #\n"})
    pki.revoke("gone")
    with shipped_broker(folder / "broker", folder / "pki") as broker:
        yield World(broker, folder / "pki")


# topic → who may write it, who may read it
BOX = "ensueno/v1/box-1"
MATRIX: dict[str, tuple[set[str], set[str]]] = {
    f"{BOX}/jobs": ({"asker"}, {"box-1"}),
    f"{BOX}/jobs/j1/status": ({"box-1"}, set()),
    f"{BOX}/presence": ({"box-1"}, {"box-1", "asker", "collector-1", "operator-1", "home-1"}),
    f"{BOX}/telemetry": ({"box-1"}, {"collector-1"}),
    f"{BOX}/ack": ({"collector-1"}, {"box-1"}),
    f"{BOX}/commands": ({"operator-1"}, {"box-1"}),
    f"{BOX}/commands/nonce/result": ({"box-1"}, {"operator-1"}),
    f"{BOX}/home/prompt": ({"box-1"}, {"home-1"}),
    f"{BOX}/home/prompt/set": ({"home-1"}, {"box-1"}),
    f"{BOX}/other": (set(), set()),
    f"{BOX}": (set(), set()),
    "ensueno/v1/pools/garden/jobs": ({"asker"}, {"box-1"}),
    "ensueno/v1/pools/garden/claims/j1": ({"box-1"}, {"box-1"}),
    "ensueno/v1/pools/attic/jobs": ({"asker"}, set()),
    "ensueno/v1/pools/attic/claims/j1": (set(), set()),
    "ensueno/v1/replies/asker": ({"box-1", "box-2"}, {"asker"}),
    "ensueno/v1/replies/asker/more": ({"box-1", "box-2"}, {"asker"}),
    "ensueno/v1/replies/someone": ({"box-1", "box-2"}, set()),
    "homeassistant/device/ensueno-box-1/config": ({"box-1"}, {"home-1"}),
    "homeassistant/status": ({"home-1"}, {"box-1", "box-2", "home-1"}),
    "ensueno/v2/box-1/jobs": (set(), set()),
    "elsewhere": (set(), set()),
}
_WIDE = ("#", "ensueno/#", "ensueno/v1/+/#", "+/+/+/+", f"$share/collectors/{topics.ALL_TELEMETRY}", "$SYS/#")


def heard(connection: Broker, last: bytes) -> dict[str, set[bytes]]:
    """All that comes until `last` does, by topic."""
    found: dict[str, set[bytes]] = {}

    def look() -> bool:
        for message in connection.receive(1000, 0.1):
            connection.ack(message)
            found.setdefault(message.topic, set()).add(message.payload)
        return any(last in payloads for payloads in found.values())

    until(look)
    return found


def test_each_user_writes_what_it_may_and_nothing_else(world: World) -> None:
    with world.connected(WATCHER, ("#",)) as watcher:
        for user in USERS:
            with world.connected(user) as connection:
                for topic in MATRIX:
                    connection.publish(topic, user.encode(), 1)
                connection.receive(1, 0.3)
        watcher.publish("elsewhere", b"the last", 1)
        found = heard(watcher, b"the last")
    for topic, (writers, _) in MATRIX.items():
        assert found.get(topic, set()) - {b"the last"} == {user.encode() for user in writers}, topic


def test_each_user_reads_what_it_may_and_nothing_else(world: World) -> None:
    for user in USERS:
        with world.connected(user) as reader, world.connected(WATCHER) as writer:
            for name in (*MATRIX, *_WIDE):  # a refused filter is no error here: nothing must come by it
                reader._client.subscribe(name, 1)
            reader.pause(0.2)
            for topic in MATRIX:
                writer.publish(topic, b"secret", 1)
            writer.receive(1, 0.2)
            found: set[str] = set()
            for _ in range(3):
                found |= {message.topic for message in reader.receive(1000, 0.15)}
        allowed = {topic for topic, (_, readers) in MATRIX.items() if user in readers}
        assert found == allowed, user


def test_another_devices_client_id_gives_none_of_its_rights(world: World) -> None:
    with world.connected("box-1", (topics.jobs("box-1"),), "box-1-session") as owner:
        assert owner.ready
    with world.connected("box-2", client_id="box-1-session") as thief, world.connected(WATCHER) as writer:
        writer.publish(topics.jobs("box-1"), b"secret", 1)
        writer.receive(1, 0.2)
        assert thief.receive(10, 0.3) == []


def gets_in(address: Address) -> bool:
    with closing(Broker(address, "knocking")) as connection:
        connection.receive(1, 0.4)
        return connection.ready


def test_a_good_certificate_gets_in(world: World) -> None:
    assert gets_in(world.address("box-1"))


def certificate(world: World, folder: Path, authority: Authority, name: str, days: float) -> Address:
    key, cert = authority.issue(name, days=days)
    write(folder / "key.pem", key)
    write(folder / "cert.pem", cert)
    return world.address(name, folder)


def test_an_expired_certificate_stays_out(world: World, tmp_path: Path) -> None:
    assert gets_in(certificate(world, tmp_path / "good", Authority(world.pki), "box-1", 1))
    assert not gets_in(certificate(world, tmp_path / "over", Authority(world.pki), "box-1", -0.5))


def test_another_authoritys_certificate_stays_out(world: World, tmp_path: Path) -> None:
    assert not gets_in(certificate(world, tmp_path / "x", Authority(tmp_path / "other"), "box-1", 1))


def test_a_revoked_certificate_stays_out(world: World) -> None:
    assert not gets_in(world.address("gone"))


def test_a_certificate_is_revoked_without_a_restart(world: World) -> None:
    pki = Pki(world.pki)
    pki.user("late", "device")
    world.broker.read_anew()
    assert gets_in(world.address("late"))
    pki.revoke("late")
    world.broker.read_anew()
    until(lambda: not gets_in(world.address("late")))


def test_a_carried_certificate_that_was_revoked_stays_out_when_its_name_is_given_anew(
    world: World, tmp_path: Path
) -> None:
    pki, carried = Pki(world.pki), tmp_path / "carried"
    shutil.move(pki.user("moved", "device"), carried)
    world.broker.read_anew()
    assert gets_in(world.address("moved", carried))
    pki.revoke("moved")
    pki.user("moved", "device")
    world.broker.read_anew()
    until(lambda: not gets_in(world.address("moved", carried)))
    assert gets_in(world.address("moved"))


def test_nobody_gets_in_without_a_certificate(world: World) -> None:
    assert not gets_in(Address.of(world.broker.url, world.pki / "ca.crt"))
    assert not gets_in(Address.of(f"mqtt://127.0.0.1:{world.broker.port}"))
    assert not gets_in(Address.of(f"mqtts://box-1:secret@127.0.0.1:{world.broker.port}", world.pki / "ca.crt"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves the refused socket open
def test_a_broker_that_another_authority_vouches_for_is_not_spoken_to(world: World, tmp_path: Path) -> None:
    Authority(tmp_path / "other")
    folder = world.pki / "box-1"
    assert not gets_in(
        Address.of(world.broker.url, tmp_path / "other" / "ca.crt", folder / "cert.pem", folder / "key.pem")
    )


def test_ten_megabytes_are_refused_and_the_broker_lives(world: World) -> None:
    with world.connected(WATCHER, ("#",), "watching-large") as watcher, world.connected("box-1") as device:
        device.publish(topics.telemetry("box-1"), b"x" * 10_000_000)
        until(lambda: device.receive(1, 0.05) or not device.ready)
        until(lambda: device.receive(1, 0.05) or device.ready)
        watcher.publish("elsewhere", b"after", 1)
        found = heard(watcher, b"after")
        assert all(len(payload) < 1000 for payloads in found.values() for payload in payloads)


def test_the_configuration_names_nothing_that_debians_mosquitto_does_not_know(world: World) -> None:
    log = world.broker.log.read_text()
    assert "Unknown configuration" not in log
    assert "deprecated" not in log


assert shutil.which("mosquitto"), "scripts/setup test installs mosquitto"
