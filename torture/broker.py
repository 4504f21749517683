"""A real Mosquitto on loopback, as Debian configures it, to be killed and started again."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from mqtt.address import Address
from torture.forks import Fork

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class Mosquitto(Fork):
    """Its port stays; what it keeps lies in `folder`."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port
        config = folder / "mosquitto.conf"
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence true"]
        lines += [f"persistence_location {folder}/", "log_dest none"]
        lines += ["user root"] if os.geteuid() == 0 else []
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [MOSQUITTO, "-c", str(config)]
        super().__init__("broker", lambda: os.execv(MOSQUITTO, command), folder / "log")  # noqa: S606

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port, tls=False)

    def answers(self) -> bool:
        """Whether it takes connections."""
        return takes_connections(self.port)


def takes_connections(port: int) -> bool:
    """Whether somebody listens at this port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
