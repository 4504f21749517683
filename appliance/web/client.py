"""Whether the one who asked is still there."""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from typing import Any


def gone(environ: Mapping[str, Any]) -> bool:
    """True when the client has closed its connection; False when it has not or nobody can say."""
    sock = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if not isinstance(sock, socket.socket):
        return False
    try:
        readable = select.select([sock], [], [], 0)[0]
        return bool(readable) and sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except (OSError, ValueError):
        return True
