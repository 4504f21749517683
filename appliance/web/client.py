"""Whether the one who asked is still there."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

_ESTABLISHED = 1  # of the kernel's TCP states


def gone(environ: Mapping[str, Any]) -> bool:
    """True when the client has closed its connection; False when it has not or nobody can say."""
    sock = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if not isinstance(sock, socket.socket):
        return False
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return True
    return state != _ESTABLISHED  # it has said goodbye, under TLS too
