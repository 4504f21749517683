"""A real box in a temporary data dir on a free port of this machine, and a client that asks it for pictures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any

from appliance.errors import Unavailable
from appliance.pipeline.manifest import Bundle
from appliance.progress import board_folder

HOST = "127.0.0.1"
_PATIENCE = 300.0  # seconds for a box to become ready, or a picture to be drawn
_LOOK_EVERY = 0.02
_STOP_SECONDS = 20.0

# modules and their first words; the options of serve are added to each
SERVE = ("appliance", "serve")
WEB = ("appliance.web",)
STOPWATCH = "appliance.bench.stopwatch"


@dataclass(frozen=True)
class Plan:
    """What to start boxes with; `place` is the folder that their temporary data dirs lie in."""

    bundle: Bundle
    engine: str
    threads: int
    place: Path


def beside(data_dir: Path) -> Path:
    """The nearest folder that exists around a data dir, so that its disk is measured and no other."""
    folder = next(folder for folder in data_dir.absolute().parents if folder.is_dir())
    return folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())


class Box:
    """Processes over a temporary folder: `with Box(plan) as box:`; all is gone afterwards.

    With `watched`, the engine is the one with a stopwatch (see `stopwatch`), and tells the file `calls`. `started` is
    when, by `time.perf_counter`.
    """

    def __init__(self, plan: Plan, *, watched: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ensueno-bench-", dir=plan.place))
        self.calls = self.folder / "calls"
        self.port = free_port()
        self.started = 0.0
        self.processes: list[subprocess.Popen[bytes]] = []
        self._commands = [WEB, (STOPWATCH, str(self.calls))] if watched else [SERVE]
        self._options = {
            "--host": HOST,
            "--port": str(self.port),
            "--data-dir": str(self.data_dir),
            "--bundle": str(plan.bundle.folder.resolve()),
            "--engine": plan.engine,
            "--threads": str(plan.threads),
        }

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    def __enter__(self) -> Box:
        options = [text for pair in self._options.items() for text in pair]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ENSUENO_")}
        self.started = time.perf_counter()
        with (self.folder / "log").open("wb") as log:
            for module, *words in self._commands:
                command = [sys.executable, "-m", module, *words, *options]
                self.processes.append(
                    subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
                )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(board_folder(self.data_dir), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_until_ready(self) -> float:
        """Seconds from the start of the processes to the first 200 of /readyz. Raises `Unavailable`."""
        deadline = time.perf_counter() + _PATIENCE
        while time.perf_counter() < deadline:
            if any(process.poll() is not None for process in self.processes):
                raise Unavailable(f"The box ended while it started: {self._last_words()}")
            try:
                if self.get("/readyz")[0] == 200:
                    return time.perf_counter() - self.started
            except (OSError, HTTPException):
                pass
            time.sleep(_LOOK_EVERY)
        raise Unavailable(f"The box did not become ready in {_PATIENCE:.0f} s: {self._last_words()}")

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body, over a connection of its own."""
        connection = HTTPConnection(HOST, self.port, timeout=_PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, fields: dict[str, Any]) -> Asked:
        """Ask for a picture as the page does, submit and stream, until its end. Raises `Unavailable`."""
        connection = HTTPConnection(HOST, self.port, timeout=_PATIENCE)
        try:
            began = time.monotonic()
            connection.request("POST", "/v1/jobs", json.dumps(fields), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            job = json.loads(answer.read())
            if answer.status != 202:
                raise Unavailable(f"The box refused a picture: {job.get('detail', answer.status)}")
            accepted = time.monotonic()
            connection.request("GET", f"/v1/jobs/{job['id']}/events")
            job = _end(connection)
            ended = time.monotonic()
        finally:
            connection.close()
        if job["state"] != "finished":
            raise Unavailable(f"The box did not draw a picture: {job['error'] or job['state']}")
        return Asked(began, accepted, ended, job["images"])

    def _last_words(self) -> str:
        lines = (self.folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


class Asked:
    """One picture as a client met it: CLOCK_MONOTONIC seconds of the request, its acceptance and its end."""

    def __init__(self, began: float, accepted: float, ended: float, images: list[str]) -> None:
        self.began = began
        self.accepted = accepted
        self.ended = ended
        self.images = images

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def _end(connection: HTTPConnection) -> dict[str, Any]:
    """The job in the stream's `end` event."""
    name = ""
    for line in connection.getresponse():
        key, _, value = line.decode().rstrip("\n").partition(": ")
        if key == "event":
            name = value
        elif key == "data" and name == "end":
            job: dict[str, Any] = json.loads(value)
            return job
    raise Unavailable("The box ended a stream before its picture: see its log.")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
