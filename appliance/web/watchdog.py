"""The web's watchdog is fed by an answered request to itself, made as anyone would: through the listening socket."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable

from appliance import notify

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def answers(host: str, port: int, timeout: float, scheme: str = "http") -> bool:
    """Whether /healthz is answered with 200 in time."""
    connection = _connection(_EVERYWHERE.get(host, host), port, timeout, scheme)
    try:
        connection.request("GET", "/healthz", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _connection(host: str, port: int, timeout: float, scheme: str) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it asks itself: whose certificate, it knows
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)


def begin(
    host: str, port: int, scheme: str = "http", fed: Callable[[], None] = notify.working
) -> threading.Event | None:
    """Ask itself three times in each of systemd's patiences; set the event to end. None when nobody watches."""
    patience = notify.watchdog_seconds()
    if patience is None:
        return None
    over = threading.Event()

    def turn() -> None:
        while not over.wait(patience / 3):
            if answers(host, port, patience / 3, scheme):
                fed()

    threading.Thread(target=turn, name="watchdog", daemon=True).start()
    return over
