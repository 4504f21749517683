"""A health check's question, over the wire and by either scheme."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from appliance import config
from appliance.network import certificate
from appliance.network.addresses import names
from appliance.web.ready import main, ready


class Door(BaseHTTPRequestHandler):
    """Stands for the web process; `test_health.py` has the real answers."""

    status = 200

    def do_GET(self) -> None:
        assert self.path == "/readyz"
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def open_door(status: int, shown: certificate.Certificate | None) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), type("Answering", (Door,), {"status": status}))
    if shown is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(shown.cert, shown.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("status", [200, 503])
def test_it_is_what_the_page_says(tmp_path: Path, status: int, secure: bool) -> None:
    found = certificate.certificate(config.load({"data_dir": tmp_path, "tls": True}), names("attic", ""))
    with open_door(status, found if secure else None) as port:
        assert ready("0.0.0.0", port) is (status == 200)


def test_where_nobody_answers_nothing_is_ready() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert not ready("127.0.0.1", port)
        assert main(["--port", str(port)]) == 1
        assert main(["--port", "a door"]) == 2


def test_a_box_on_one_address_is_asked_there(tmp_path: Path) -> None:
    with open_door(200, None) as port:
        (tmp_path / "box.toml").write_text(f'host = "127.0.0.1"\nport = {port}\n')
        assert main(["--config", str(tmp_path / "box.toml")]) == 0
        assert not ready("127.0.0.2", port)
