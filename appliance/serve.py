"""`ensueno serve`: starts web, engine and (with a broker) the MQTT link as separate processes and keeps them."""

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
from pathlib import Path
from types import FrameType

from appliance import module
from appliance.config import Settings
from appliance.errors import BadInput, NoRoom
from appliance.journal_check import begin_anew
from appliance.lock import only_one
from appliance.network import port
from appliance.network.addresses import EVERYWHERE, addresses, alone, for_others
from appliance.pipeline.manifest import Bundle
from appliance.plans import wanted
from appliance.progress import Board, board_folder, boottime

_STOP_SECONDS = 15.0
_LONGEST_PAUSE = 30.0
_STEADY_SECONDS = 60.0


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
            self.process = subprocess.Popen(
                self.command, start_new_session=True, preexec_fn=_end_with_parent, env=module.environment()
            )
            self.started = now
            self.starts += 1

    def park(self) -> bool:
        """Ask it to end and start it no more until `keep`; True when it has ended."""
        self.signal(signal.SIGTERM)
        if not self.ended:
            return False
        self.process = None
        return True

    @property
    def ended(self) -> bool:
        """Whether it does not run."""
        return self.process is None or self.process.poll() is not None

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
        self.engine = Child("The engine", module.command("appliance.worker", arguments))
        self.web = Child("The web process", module.command("appliance.web", arguments))
        # a process and no import: nothing in `appliance` knows `mqtt`
        self.link = Child("The MQTT link", module.command("mqtt.link", arguments)) if settings.mqtt else None
        self._children = [child for child in (self.link, self.web, self.engine) if child is not None]
        self.builder: Child | None = None
        self._stopping = False

    def turn(self, now: float) -> None:
        """Start what should run, and end an engine whose work heartbeat has stopped."""
        parked = self._build(now)
        for child in self._children:
            if child is not self.engine or not parked:
                child.keep(now)
        pulse = self._board.pulse()
        running = self.engine.process
        if pulse is None or running is None or pulse.pid != running.pid:
            return
        if boottime() - pulse.beat > max(self._settings.watchdog_seconds, pulse.patience):
            print("The engine is stuck: ending it.", file=sys.stderr)
            self.engine.signal(signal.SIGKILL)

    def _build(self, now: float) -> bool:
        """While plans are wanted (`plans/wanted.py`) the engine makes room and they are built; True meanwhile."""
        data_dir = self._settings.data_dir
        if self.builder is not None:
            if not self.builder.ended:
                return True
            print("The build of the engine's plans has ended: the engine starts again.", file=sys.stderr)
            self.builder = None
        plans = wanted.wanted(data_dir)
        if plans is None:
            return False
        if self.engine.park():
            print(f"Building the plans of {plans.bundle.name} for {plans.target}: the queue waits.", file=sys.stderr)
            with contextlib.suppress(NoRoom):
                wanted.take(data_dir)
            self.builder = Child("The builder", builder_command(plans, data_dir))
            self.builder.keep(now)
        return True

    def run(self, announce: Callable[[], None]) -> None:
        """Keep them until SIGTERM or Ctrl-C, then stop the doors (no new work) and the engine (in good order).

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
        children = [*self._children, *([self.builder] if self.builder else [])]
        for child in children:
            child.signal(signal.SIGTERM)
        for child in children:
            child.wait(max(_STOP_SECONDS, pulse.patience if pulse else 0.0))
        shutil.rmtree(board_folder(self._settings.data_dir), ignore_errors=True)

    def _ask_to_stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True


def builder_command(plans: wanted.Wanted, data_dir: Path) -> list[str]:
    """A process and no import, too: `appliance` knows nothing of `engine_build`."""
    named = [os.fspath(plans.bundle), "--target", plans.target, "--data-dir", os.fspath(data_dir)]
    return module.command("engine_build", ["build", *named])


def serve(settings: Settings, arguments: Sequence[str], *, open_page: bool = False) -> None:
    """Check what can be checked, keep the processes, and say where the page is.

    Raises `BadInput`, `BadBundle`, `Unavailable`.
    """
    os.umask(0o077)
    bundle = Bundle.open(settings.bundle)
    if settings.picture_check == "on":
        bundle.require_picture_check()

    def announce() -> None:
        found = addresses(settings.host, settings.port, settings.scheme)
        for url in found:
            print(f"Ensueño dreams at {url}", flush=True)
        if not alone(settings.host):
            _invite(for_others(settings.host, settings.port, settings.name, settings.scheme))
        if open_page and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(found[0])

    with only_one(settings.data_dir / "serve.lock", "Another `ensueno serve`"):
        port.check(settings.host, settings.port)
        said = begin_anew(settings.journal_path, settings.images_dir)
        if said:
            print(said, file=sys.stderr, flush=True)
        Supervisor(settings, arguments).run(announce)


def _invite(found: list[str]) -> None:
    """Its name on the network; who may come in there, the web process has said (`people/invitation.py`)."""
    print(f"On this network also at {found[-1]}. Only who has paired is let in: see `ensueno pair`.", flush=True)


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1" if host in EVERYWHERE else host, port), timeout=0.2).close()
        return True
    return False


def _end_with_parent() -> None:
    """In the child: be asked to stop when the supervisor is gone, however it went (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
