"""`ensueno serve`: starts web and engine as separate processes and keeps them; on the box systemd does this instead."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

from appliance.config import Settings
from appliance.errors import BadInput
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

    def keep(self, now: float) -> None:
        """Start it when it should run and does not."""
        if self.process is not None and self.process.poll() is not None:
            status = self.process.returncode
            if status == BadInput.exit_status:
                raise BadInput(f"{self.name} cannot run as it was told to: see the sentence above.")
            print(f"{self.name} ended (status {status}): starting it again.", file=sys.stderr)
            self.pause = 0.25 if now - self.started > _STEADY_SECONDS else min(2 * self.pause, _LONGEST_PAUSE)
            self.start_at = now + self.pause
            self.process = None
        if self.process is None and now >= self.start_at:
            self.process = subprocess.Popen(self.command, start_new_session=True, preexec_fn=_end_with_parent)
            self.started = now

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
        if boottime() - pulse.beat > self._settings.watchdog_seconds:
            print("The engine is stuck: ending it.", file=sys.stderr)
            self.engine.signal(signal.SIGKILL)

    def run(self) -> None:
        """Keep them until SIGTERM or Ctrl-C, then stop the web (no new work) and the engine (in good order)."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._ask_to_stop)
        try:
            while not self._stopping:
                self.turn(time.monotonic())
                time.sleep(0.2)
        finally:
            for child in (self.web, self.engine):
                child.signal(signal.SIGTERM)
            for child in (self.web, self.engine):
                child.wait(_STOP_SECONDS)

    def _ask_to_stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True


def serve(settings: Settings, arguments: Sequence[str], *, open_page: bool = False) -> None:
    """Check what can be checked, say where the page is, and keep the processes. Raises `BadInput`."""
    Bundle.open(settings.bundle)
    _check_port(settings.host, settings.port)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    url = f"http://{_shown(settings.host)}:{settings.port}"
    print(f"Ensueño dreams at {url}   (Ctrl-C ends it)", flush=True)
    if settings.host not in _LOOPBACK:
        print("Everyone on this network can use it: there is no pairing yet.", flush=True)
    if open_page and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        webbrowser.open(url)
    Supervisor(settings, arguments).run()


def _shown(host: str) -> str:
    """The name under which a person on this machine finds the page."""
    if host in _LOOPBACK or host in _EVERYWHERE:
        return "localhost"
    return f"[{host}]" if ":" in host else host


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
