"""`ensueno serve`: starts web and engine as separate processes and keeps them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from appliance.config import Settings
from appliance.errors import BadInput
from appliance.lock import only_one
from appliance.pipeline.manifest import Bundle
from appliance.progress import Board, board_folder, boottime

_STOP_SECONDS = 15.0
_LONGEST_PAUSE = 30.0
_STEADY_SECONDS = 60.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104


@dataclass
class Child:
    """One kept process; a quick death doubles the pause before the next start, a steady life resets it."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    start_at: float = 0.0
    pause: float = field(default=0.25)
    starts: int = 0

    def keep(self, now: float) -> None:
        """Start it when it should run and does not."""
        if self.process is not None and self.process.poll() is not None:
            status = self.process.returncode
            if status == BadInput.exit_status and self.starts == 1:
                raise BadInput(f"{self.name} cannot run as it was told to: see the sentence above.")
            print(f"{self.name} ended (status {status}): starting it again.", file=sys.stderr)
            self.pause = 0.25 if now - self.started > _STEADY_SECONDS else min(2 * self.pause, _LONGEST_PAUSE)
            self.start_at = now + self.pause
            self.process = None
        if self.process is None and now >= self.start_at:
            self.process = subprocess.Popen(self.command, start_new_session=True, preexec_fn=_end_with_parent)
            self.started = now
            self.starts += 1

    def signal(self, signum: int) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signum)

    def wait(self, timeout: float) -> None:
        """Wait for its end; whatever outstays the time is killed."""
        if self.process is None:
            return
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Supervisor:
    """Keeps the children. `turn` is one look at them; `run` repeats it."""

    def __init__(self, settings: Settings, arguments: Sequence[str]) -> None:
        self._settings = settings
        self._board = Board(board_folder(settings.data_dir))
        self.engine = Child("The engine", [sys.executable, "-m", "appliance.worker", *arguments])
        self.web = Child("The web process", [sys.executable, "-m", "appliance.web", *arguments])
        self._stopping = False

    def turn(self, now: float) -> None:
        """Start what should run, and end an engine whose work heartbeat has stopped."""
        for child in (self.web, self.engine):
            child.keep(now)
        pulse = self._board.pulse()
        running = self.engine.process
        if pulse is None or running is None or pulse.pid != running.pid:
            return
        if boottime() - pulse.beat > max(self._settings.watchdog_seconds, pulse.patience):
            print("The engine is stuck: ending it.", file=sys.stderr)
            self.engine.signal(signal.SIGKILL)

    def run(self, announce: Callable[[], None]) -> None:
        """Keep them until SIGTERM or Ctrl-C, then stop the web (no new work) and the engine (in good order).

        `announce` is called once, when the page answers.
        """
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._ask_to_stop)
        announced = False
        try:
            while not self._stopping:
                self.turn(time.monotonic())
                if not announced and _answers(self._settings.host, self._settings.port):
                    announced = True
                    announce()
                time.sleep(0.2)
        finally:
            self._stop()

    def _stop(self) -> None:
        """A step that takes long is waited for: a stop is charged to no job."""
        pulse = self._board.pulse()
        for child in (self.web, self.engine):
            child.signal(signal.SIGTERM)
        for child in (self.web, self.engine):
            child.wait(max(_STOP_SECONDS, pulse.patience if pulse else 0.0))
        shutil.rmtree(board_folder(self._settings.data_dir), ignore_errors=True)

    def _ask_to_stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True


def serve(settings: Settings, arguments: Sequence[str], *, open_page: bool = False) -> None:
    """Check what can be checked, keep the processes, and say where the page is. Raises `BadInput`, `Unavailable`."""
    os.umask(0o077)
    Bundle.open(settings.bundle)

    def announce() -> None:
        for url in addresses(settings.host, settings.port):
            print(f"Ensueño dreams at {url}", flush=True)
        if settings.host not in _LOOPBACK:
            print("Everyone on this network can use it: there is no pairing yet.", flush=True)
        if open_page and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(addresses(settings.host, settings.port)[0])

    with only_one(settings.data_dir / "serve.lock", "Another `ensueno serve`"):
        _check_port(settings.host, settings.port)
        Supervisor(settings, arguments).run(announce)


def addresses(host: str, port: int) -> list[str]:
    """Where the page is found: on this machine, and when it is open to the network also from a phone."""
    hosts = ["localhost"] if host in (*_LOOPBACK, *_EVERYWHERE) else [f"[{host}]" if ":" in host else host]
    if host in _EVERYWHERE:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells which of our addresses faces the network
            hosts.append(probe.getsockname()[0])
    return [f"http://{name}:{port}" for name in hosts]


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1" if host in _EVERYWHERE else host, port), timeout=0.2).close()
        return True
    return False


def _end_with_parent() -> None:
    """In the child: be asked to stop when the supervisor is gone, however it went (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(f"Cannot serve on {host}:{port} ({error.strerror}): choose another --port.") from None
