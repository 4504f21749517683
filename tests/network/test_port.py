"""A place to listen: what is in the way is said as it is."""

from __future__ import annotations

import errno
import socket

import pytest

from appliance.errors import BadInput
from appliance.network import port
from tests.served import free_port


def test_a_free_port_is_nothing_to_say() -> None:
    port.check("127.0.0.1", free_port())


def test_a_port_in_use_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadInput, match="Something else holds port"):
        port.check("127.0.0.1", taken.getsockname()[1])


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(BadInput, match=r"192\.0\.2\.1 is no address of this machine: choose another --host"):
        port.check("192.0.2.1", free_port())


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b", "x" * 70])
def test_a_name_that_leads_nowhere_is_named(host: str) -> None:
    with pytest.raises(BadInput, match=f"The name {host} leads nowhere"):
        port.check(host, free_port())


def test_a_port_that_only_root_may_take_is_named() -> None:
    said = port._why("127.0.0.1", 80, PermissionError(errno.EACCES, "Permission denied"))
    assert said == "Port 80 is for root alone: choose another --port, from 1024 on."
