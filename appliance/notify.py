"""What systemd is told, by its datagram socket: ready, working, stopping (sd_notify(3)). Elsewhere: nothing happens.

The watchdog is fed by work and by nothing else: a finished step or a completed idle turn of the engine, an answered
request of the web to itself, a broker's answer to the link's ping.
"""

from __future__ import annotations

import contextlib
import os
import socket


def starting(patience: float) -> None:
    """Not ready yet, but at work: however long the start takes, it may be silent for `patience` seconds from now on."""
    _send(f"WATCHDOG=1\nWATCHDOG_USEC={int(patience * 1e6)}\nEXTEND_TIMEOUT_USEC={int(patience * 1e6)}")


def ready(status: str) -> None:
    """The process does its work from now on; `status` is one line for `systemctl status`."""
    _send(f"READY=1\nSTATUS={status}")


def working(patience: float | None = None) -> None:
    """Feed the watchdog; `patience` sets how many seconds of silence are no cause for worry from now on."""
    longer = "" if patience is None else f"\nWATCHDOG_USEC={int(patience * 1e6)}"
    _send(f"WATCHDOG=1{longer}")


def stopping() -> None:
    """It was asked to stop and is giving everything back."""
    _send("STOPPING=1")


def watchdog_seconds() -> float | None:
    """How long systemd bears silence; None when nobody watches."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) > 0 else None


def _send(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
