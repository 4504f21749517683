"""A box under torture: its web and its engine, started, killed and started again."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.progress import board_folder

NAMES = ("web", "engine")
PATIENCE = 240.0  # seconds; a machine may be very busy


@dataclass(frozen=True, slots=True)
class Plot:
    """What kind of box: `real` loads the bundle's networks, else the fault-injecting engine draws.

    `careless` is the negative control: promises are kept a moment after they were given.
    """

    bundle: Path
    careless: bool = False
    real: bool = False
    reserve_mib: int = 0


class Box:
    """Processes by name, `web` and `engine`. Made by `running`."""

    def __init__(self, data_dir: Path, plot: Plot) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.orders = data_dir.parent / "orders"
        self.orders.mkdir(exist_ok=True)
        self.starts = dict.fromkeys(NAMES, 0)
        self._pids: dict[str, int] = {}
        self._handles: dict[str, int] = {}  # pidfds
        self._plot = plot
        self._settings = {
            "host": "127.0.0.1",
            "port": self.port,
            "data_dir": str(data_dir),
            "bundle": str(plot.bundle),
            "queue_limit": 200,
            "reserve_mib": plot.reserve_mib,
            "engine": "onnxruntime",  # the ladder has one rung here: the one that stands in for it
        }
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "torture.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, name: str, failpoint: str | None = None) -> None:
        """Start a process that does not run; with a failpoint it dies there."""
        order = {
            "what": name,
            "settings": self._settings,
            "orders": str(self.orders),
            "clock": str(self.data_dir.parent / "clock"),
            "failpoint": failpoint,
            "careless": self._plot.careless,
            "real": self._plot.real,
            "log": str(self.data_dir.parent / f"{name}.log"),
        }
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        self._forget(name)
        pid = int(self._zygote.stdout.readline())
        self._pids[name] = pid
        with contextlib.suppress(ProcessLookupError):  # it is dead already
            self._handles[name] = os.pidfd_open(pid)
        self.starts[name] += 1

    def _signal(self, name: str, signum: signal.Signals) -> None:
        """To it and its children; only while it lives, since its number may be somebody else's later."""
        if self.alive(name):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pids[name], signum)

    def _forget(self, name: str) -> None:
        handle = self._handles.pop(name, None)
        if handle is not None:
            os.close(handle)

    def pid(self, name: str) -> int:
        """The process id of its present or last life."""
        return self._pids[name]

    def alive(self, name: str) -> bool:
        """Whether it runs. Asked of the kernel's handle: a pid may be another's by now."""
        handle = self._handles.get(name)
        return handle is not None and not select.select([handle], [], [], 0)[0]

    def keep(self) -> None:
        """Start whatever died, as the supervisor would."""
        for name in NAMES:
            if not self.alive(name):
                self.start(name)

    def kill(self, name: str) -> None:
        """kill -9, with the children it has, and wait until it is gone."""
        self._signal(name, signal.SIGKILL)
        until(lambda: not self.alive(name))

    def ask_to_stop(self, name: str) -> None:
        """SIGTERM, as systemd would; it is not waited for."""
        if self.alive(name):
            signal.pidfd_send_signal(self._handles[name], signal.SIGTERM)

    def stop(self) -> None:
        """Ask both to stop in good order."""
        for name in NAMES:
            self.ask_to_stop(name)
        until(lambda: not any(self.alive(name) for name in NAMES))

    def call(self, method: str, path: str, body: Any = None, timeout: float = 5.0) -> tuple[int, Any]:
        """Status and json of an answer; status 0 when nobody answered."""
        return ask(self.port, method, path, body, timeout)

    def close(self) -> None:
        """End everything, whatever state it is in."""
        with self._zygote:  # closes its pipes, at which it ends, and waits for it
            pass
        for name in NAMES:
            self._signal(name, signal.SIGKILL)
            self._forget(name)
        shutil.rmtree(board_folder(self.data_dir), ignore_errors=True)


@contextmanager
def running(data_dir: Path, plot: Plot) -> Iterator[Box]:
    """A box whose page answers."""
    data_dir.mkdir(parents=True, exist_ok=True)
    box = Box(data_dir, plot)
    try:
        box.keep()
        until(lambda: box.call("GET", "/healthz")[0] == 200)
        yield box
    finally:
        box.close()


def until(true: Any, patience: float = PATIENCE) -> None:
    """Wait for another process: the only way to meet it. Raises `TimeoutError`."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"It did not come to pass within {patience:g} s.")
        time.sleep(0.005)


def ask(port: int, method: str, path: str, body: Any = None, timeout: float = 5.0) -> tuple[int, Any]:
    """Status and json of an answer; status 0 when nobody answered."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body)
        line.request(method, path, data, {"Content-Type": "application/json"})
        answer = line.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    except (OSError, http.client.HTTPException, ValueError):
        return 0, None
    finally:
        line.close()


def end_with_parent() -> None:
    """Die as soon as whoever started this process is dead (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
