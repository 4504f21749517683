"""Whether the box may listen where its settings say; what is in the way is told apart, since each has its remedy."""

from __future__ import annotations

import errno
import socket

from appliance.errors import BadInput


def check(host: str, port: int) -> None:
    """Listen there for a moment. Raises `BadInput`."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, UnicodeError) as error:  # the latter: what cannot be a name at all
        raise BadInput(_why(host, port, error)) from None


def _why(host: str, port: int, error: OSError | UnicodeError) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"The name {host} leads nowhere: choose another --host, or mend the network's names."
    match error.errno:
        case errno.EADDRINUSE:
            return f"Something else holds port {port}: stop it or choose another --port."
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine: choose another --host."
        case errno.EACCES:
            return f"Port {port} is for root alone: choose another --port, from 1024 on."
    return f"Cannot serve on {host}:{port} ({error.strerror}): choose another --host."
