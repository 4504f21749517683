"""A real Mosquitto (Debian's) on this machine, at a free port; it can be killed and begun again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.served import free_port, until
from torture.broker import takes_connections

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class Broker:
    """`start`, `kill` (-9), `stop`; the port stays. Debian's defaults, persistence on, unless `settings` say more."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence true"]
        lines += [f"persistence_location {folder}/", f"log_dest file {folder}/mosquitto.log", settings]
        if os.geteuid() == 0:
            lines.append("user root")
        self._config.write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        until(self.answers)

    def answers(self) -> bool:
        return takes_connections(self.port)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, signum: int) -> None:
        if self.process is not None:
            self.process.send_signal(signum)
            self.process.wait(30)
            self.process = None


@contextmanager
def broker(folder: Path, settings: str = "") -> Iterator[Broker]:
    """A running broker."""
    made = Broker(folder, settings)
    made.start()
    try:
        yield made
    finally:
        made.stop()
