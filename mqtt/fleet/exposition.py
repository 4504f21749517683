"""The collector's small HTTP door: `/metrics`, `/healthz` (the process answers), `/readyz` (it takes telemetry and can
pass it on; else the reason).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from appliance.errors import BadInput


@contextmanager
def served(listen: str, metrics: Callable[[], bytes], trouble: Callable[[], str | None]) -> Iterator[int]:
    """Serve at `listen`, HOST:PORT, while the block runs; gives the port. Raises `BadInput`."""
    host, _, port = listen.rpartition(":")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = _answer(self.path, metrics, trouble)
            with contextlib.suppress(OSError):  # who asked did not wait
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: probes come every few seconds."""

    try:
        server = ThreadingHTTPServer((host or "127.0.0.1", int(port)), Handler)
    except (OSError, ValueError, OverflowError) as error:
        raise BadInput(f"{listen} cannot be listened on ({error}): give another --listen HOST:PORT.") from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="exposition", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(path: str, metrics: Callable[[], bytes], trouble: Callable[[], str | None]) -> tuple[int, bytes]:
    if path == "/metrics":
        return 200, metrics()
    if path == "/healthz":
        return 200, b"ok\n"
    if path == "/readyz":
        problem = trouble()
        return (200, b"ok\n") if problem is None else (503, f"{problem}\n".encode())
    return 404, b"not found\n"
