"""A box that really runs: `ensueno serve` with its processes, met from outside as a user would."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

PATIENCE = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], Any]) -> Any:
    """Wait for an outside process: the only way to meet it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = true()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError("it did not come to pass")


@dataclass
class Served:
    """A box that runs."""

    process: subprocess.Popen[bytes]
    url: str
    data_dir: Path

    def call(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")
        except OSError:
            return 0, {}

    def ready(self) -> bool:
        return self.call("/readyz")[0] == 200

    def ended(self, job_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            status, job = self.call(f"/v1/jobs/{job_id}")
            return job if status == 200 and job["state"] not in ("queued", "running") else None

        job: dict[str, Any] = until(look)
        return job

    def engine(self) -> int:
        """The engine's pid, waited for."""
        return self._child(lambda command: "appliance.worker" in command)

    def web(self) -> int:
        """The web's pid, waited for (gunicorn may have renamed itself)."""
        return self._child(lambda command: not {"appliance.worker", "mqtt.link"} & set(command))

    def link(self) -> int:
        """The MQTT link's pid, waited for."""
        return self._child(lambda command: "mqtt.link" in command)

    def _child(self, wanted: Callable[[list[str]], bool]) -> int:
        def look() -> int:
            for child in psutil.Process(self.process.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):  # a zombie too
                    if wanted(child.cmdline()):
                        return child.pid
            return 0

        return int(until(look))


@contextmanager
def running(bundle: Path | None, data_dir: Path, *options: str) -> Iterator[Served]:
    """A box on a free port of this machine, ready; it must stop in good order. No bundle: the active slot's."""
    port = free_port()
    command = [sys.executable, "-m", "appliance", "serve", "--port", str(port), "--threads", "1"]
    named = [] if bundle is None else ["--bundle", str(bundle)]
    process = subprocess.Popen([*command, "--data-dir", str(data_dir), *named, *options])
    box = Served(process, f"http://127.0.0.1:{port}", data_dir)
    try:
        until(box.ready)
        yield box
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(30)
    assert status == 0
