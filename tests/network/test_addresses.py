"""Where the box is found: by number, by name, by camera."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from zeroconf import ServiceBrowser, ServiceStateChange, Zeroconf

from appliance import config
from appliance.network import addresses, qr
from appliance.network.mdns import Announcer
from appliance.web.server import plan_of
from tests.served import until


def test_a_box_of_this_machine_alone_has_no_address_for_others() -> None:
    assert addresses.for_others("127.0.0.1", 8080, "ensueno") == []


def test_others_get_the_number_first_and_then_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "own_address", lambda: "192.168.1.23")
    assert addresses.for_others("0.0.0.0", 80, "attic") == ["http://192.168.1.23:80", "http://attic.local:80"]
    assert addresses.for_others("10.0.0.5", 80, "attic") == ["http://10.0.0.5:80", "http://attic.local:80"]
    monkeypatch.setattr(addresses, "own_address", lambda: None)
    assert addresses.for_others("0.0.0.0", 80, "attic") == ["http://attic.local:80"]


def test_a_box_goes_by_the_name_that_it_serves_on_and_numbers_are_no_names(tmp_path: Path) -> None:
    told = config.load({"host": "Box.Lan", "hosts": "dreams.lan, 10.0.0.5", "data_dir": tmp_path})
    assert {"box.lan", "dreams.lan", "ensueno.local", "localhost"} <= set(plan_of(told).hosts)
    assert "10.0.0.5" not in plan_of(told).hosts
    everywhere = config.load({"host": "0.0.0.0", "data_dir": tmp_path})
    assert "0.0.0.0" not in plan_of(everywhere).hosts


def test_it_goes_by_its_own_names_by_those_it_was_given_and_by_the_one_it_listens_on() -> None:
    assert {"localhost", "attic", "attic.local"} <= addresses.names("Attic", "")
    given = addresses.names("attic", "box.example, Loft", "MyBox.lan.")
    assert given - addresses.names("attic", "") == {"box.example", "loft", "mybox.lan"}


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0", "192.168.1.23"])
def test_a_number_is_no_name(host: str) -> None:
    assert addresses.names("attic", host, host) == addresses.names("attic", "")


def test_the_code_is_a_picture_and_a_block_of_text() -> None:
    assert qr.svg("http://192.168.1.23:8080").startswith(b"<svg")
    assert len({len(line) for line in qr.terminal("http://192.168.1.23:8080").splitlines()}) >= 1


KIND = "_https._tcp.local."


@pytest.fixture
def announcer() -> Announcer:
    return Announcer("attic", 8081, "https", own=lambda: "127.0.0.1", interfaces=["127.0.0.1"])


def test_a_name_leads_to_the_box_over_the_loopback(announcer: Announcer) -> None:
    """Real multicast DNS, on this machine alone: that a phone's resolver asks for it too is not proven here."""
    seen: list[str] = []

    def heard(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        seen.append(f"{state_change.name} {name}")

    listener = Zeroconf(interfaces=["127.0.0.1"])
    try:
        ServiceBrowser(listener, KIND, handlers=[heard])
        announcer.turn()
        until(lambda: f"Added attic.{KIND}" in seen)
        info = listener.get_service_info(KIND, f"attic.{KIND}")
        assert info is not None
        assert (info.server, info.port) == ("attic.local.", 8081)
        assert [socket.inet_ntoa(address) for address in info.addresses] == ["127.0.0.1"]
        announcer.close()
        until(lambda: f"Removed attic.{KIND}" in seen)
    finally:
        announcer.close()
        listener.close()


def test_it_waits_for_a_network_and_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now: list[str | None] = [None]
    announcer = Announcer("attic", 8081, "https", own=lambda: now[0], interfaces=["127.0.0.1"])
    announcer.turn()
    assert announcer._announced is None
    now[0] = "127.0.0.1"
    announcer.turn()
    assert announcer._announced == "127.0.0.1"
    now[0] = None
    announcer.turn()
    assert announcer._zeroconf is None
