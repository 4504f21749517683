"""Somebody who asks the web all the time and writes down how long each answer took: `python -m torture.visitor …`.

A process of its own, so that the web is measured and not the harness. In turn with the web it asks a bystander, a
server beside it that does nothing at all: what that takes is the machine's doing and not the box's.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torture.box import ask, end_with_parent

BYSTANDER = "bystander"
_EVERY = 0.02  # seconds between two questions
_NOTHING = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnull"


@contextmanager
def visiting(port: int, job_id: str, answers: Path) -> Iterator[None]:
    """Let somebody ask for a block; what came of it is added to the file `answers`."""
    words = [sys.executable, "-m", "torture.visitor", str(port), job_id, str(answers)]
    visitor = subprocess.Popen(words)
    try:
        yield
    finally:
        visitor.terminate()
        visitor.wait()


def figures(answers: Path) -> dict[str, dict[str, float]]:
    """For each address: how many questions, p50, p99 and the slowest in ms."""
    seconds = defaultdict(list)
    for path, _, took in _lines(answers):
        seconds[path].append(float(took))
    found = {}
    for path, times in sorted(seconds.items()):
        times.sort()
        found[path] = {"questions": float(len(times))} | {
            name: round(1000 * times[min(len(times) - 1, int(len(times) * part))], 1)
            for name, part in (("p50_ms", 0.5), ("p99_ms", 0.99), ("slowest_ms", 1.0))
        }
    return found


def unanswered(answers: Path) -> list[str]:
    """Questions that nobody answered, or with an error of the box's own."""
    counts = Counter(f"{path} {status}" for path, status, _ in _lines(answers) if status == "0" or status >= "500")
    return [f"{what}, {count} times" for what, count in sorted(counts.items())]


def _lines(answers: Path) -> Iterator[list[str]]:
    words = (line.split() for line in answers.read_text("ascii").splitlines())
    return (line for line in words if len(line) == 3)


def main(port: int, job_id: str, answers: Path) -> None:
    """Ask on until told to stop."""
    end_with_parent()
    beside = bystander()
    doors = [(BYSTANDER, beside, "/"), *((path.replace(job_id, "<id>"), port, path) for path in
             ("/healthz", "/v1/images", "/v1/offer", f"/v1/jobs/{job_id}"))]  # fmt: skip
    with answers.open("a", encoding="ascii", buffering=1) as file:
        for name, where, path in itertools.cycle(doors):
            time.sleep(_EVERY)
            began = time.monotonic()
            status, _ = ask(where, "GET", path)
            file.write(f"{name} {status} {time.monotonic() - began:.6f}\n")


def bystander() -> int:
    """A process that answers whatever it is asked with nothing; → its port."""
    door = socket.create_server(("127.0.0.1", 0), backlog=16)
    port: int = door.getsockname()[1]
    if os.fork() == 0:
        end_with_parent()
        while True:
            with contextlib.suppress(OSError), door.accept()[0] as line:
                line.recv(4096)
                line.sendall(_NOTHING)
    door.close()
    return port


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
