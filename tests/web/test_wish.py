"""A wish that arrives slowly. What it may hold is in test_start.py and test_bad_input.py."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from appliance.web.limits import MAX_BODY
from tests.web.test_server import POST, Running, started

PATIENCE = 1.0
HURRIED = f"""
import sys
from appliance.web.__main__ import made
from appliance.web.server import serve

serve(made(sys.argv[1:]), patience={PATIENCE})
"""


@pytest.fixture(params=[(), ("--tls",)], ids=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("hurried"), *request.param, code=HURRIED) as running:
        yield running


def opened(server: Running) -> socket.socket:
    """A connection by the scheme that the server speaks."""
    certificate = server.data_dir / "tls.pem"
    if not certificate.exists():
        return server.connect()
    return ssl.create_default_context(cafile=certificate).wrap_socket(server.connect(), server_hostname="localhost")


def test_a_large_one_may_take_longer_than_a_sentence(server: Running) -> None:
    body = json.dumps({"prompt": "a red apple"}).encode() + b" " * MAX_BODY
    with opened(server) as client:
        client.sendall(f"{POST}Content-Length: {len(body)}\r\n\r\n".encode())
        sent, last = 0, time.monotonic() + 2 * PATIENCE
        while time.monotonic() < last:
            sent += client.send(body[sent : sent + 1])
            time.sleep(0.05)
        client.sendall(body[sent:])
        assert client.recv(4096).startswith(b"HTTP/1.1 202")
