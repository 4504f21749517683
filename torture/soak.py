"""A served box (`ensueno serve`, all its processes) that draws for a long time: what it takes of the machine meanwhile.

Somebody always waits for a picture, somebody asks the web all the time, and every few seconds memory, descriptors,
threads and the journal's size are written down.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from appliance.journal import Journal
from torture.box import ask, free_port, until
from torture.checker import Verdict, audit, check
from torture.history import History
from torture.requesters import promise, wish
from torture.rest import waiting
from torture.visitor import figures, unanswered, visiting

EVERY = 5.0  # seconds between two samples
AT_ONCE = 3  # jobs that wait or run
WAL_LIMIT = 16 << 20  # bytes
_PARTS = {"supervisor": "appliance serve", "web": "appliance.web.process", "engine": "appliance.worker"}
_MORE = 1.05  # of its memory
_MORE_BYTES = 8 << 20


@dataclass
class SoakVerdict(Verdict):
    """Of a soak; `taken` has for each figure the early and the late median, the smallest and the largest."""

    minutes: float = 0.0
    grown: list[str] = field(default_factory=list)
    web_silent: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)  # processes that did not live through it
    taken: dict[str, dict[str, float]] = field(default_factory=dict)
    asked: dict[str, dict[str, float]] = field(default_factory=dict)

    def told(self) -> str:
        """One line for people."""
        memory = ", ".join(
            f"{name} {found['early'] / 2**20:.0f} → {found['late'] / 2**20:.0f} MiB"
            for name, found in self.taken.items()
            if name.endswith(" rss")
        )
        return f"{self.minutes:.1f} minutes; {memory}; {super().told()}"


class Served:
    """`ensueno serve` on a data dir of its own. Made by `serving`."""

    def __init__(self, data_dir: Path, bundle: Path, log: Path) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        words = [
            "-m",
            "appliance",
            "serve",
            "--port",
            str(self.port),
            "--data-dir",
            str(data_dir),
            "--bundle",
            str(bundle),
        ]
        with log.open("ab") as file:
            self._process = subprocess.Popen([sys.executable, *words], stdout=file, stderr=file)

    def call(self, method: str, path: str, body: Any = None, timeout: float = 10.0) -> tuple[int, Any]:
        """Status and json of an answer; status 0 when nobody answered."""
        return ask(self.port, method, path, body, timeout)

    def stop(self) -> None:
        """In good order."""
        self._process.terminate()
        self._process.wait(timeout=120)

    def parts(self) -> dict[str, list[int]]:
        """The processes of each part: the supervisor's own, and those that it started, with their children."""
        family = {self._process.pid}
        rows = sorted(_processes())
        for pid, parent, _ in rows:
            if parent in family:
                family.add(pid)
        return {
            name: [pid for pid, _, words in rows if pid in family and mark in words] for name, mark in _PARTS.items()
        }


@contextmanager
def serving(data_dir: Path, bundle: Path, log: Path) -> Iterator[Served]:
    """A box that has drawn its first picture."""
    box = Served(data_dir, bundle, log)
    try:
        until(lambda: box.call("GET", "/readyz")[0] == 200)
        yield box
    finally:
        box.stop()


def torment(folder: Path, bundle: Path, seed: int, minutes: float) -> SoakVerdict:
    """Go on from what `folder` holds until it has been watched for `minutes`."""
    history = History(folder / "history.jsonl")
    data_dir, answers = folder / "data", folder / "answers"
    data_dir.mkdir(mode=0o700, exist_ok=True)
    Journal(data_dir / "journal.db").close()
    audit(data_dir / "journal.db")
    left = 60 * minutes - EVERY * history.count("sample")
    with serving(data_dir, bundle, folder / "serve.log") as box:
        with visiting(box.port, wish(seed, 0)["id"], answers):
            watch(box, history, seed, left)
        until(lambda: waiting(data_dir / "journal.db") == 0)
    verdict = SoakVerdict()
    check(history, data_dir, verdict)
    _sum_up(verdict, [line for line in history.lines() if line["what"] == "sample"])
    verdict.asked, verdict.web_silent = figures(answers), unanswered(answers)
    history.close()
    return verdict


def watch(box: Served, history: History, seed: int, seconds: float) -> None:
    """Ask whenever fewer than `AT_ONCE` wait, and write down what the box takes."""
    number = history.count("accepted")
    began = time.monotonic()
    first = box.parts()
    for sample in range(int(seconds / EVERY)):
        while time.monotonic() < began + EVERY * (sample + 1):
            if waiting(box.data_dir / "journal.db") < AT_ONCE:
                promise(box, history, wish(seed, number), number)
                number += 1
            time.sleep(0.1)
        history.note(
            "sample", taken=taken(box), restarted=[name for name, pids in box.parts().items() if pids != first[name]]
        )


def taken(box: Served) -> dict[str, int]:
    """What each part takes now (bytes of memory, descriptors, threads) and the bytes of the journal."""
    found: dict[str, int] = {}
    for name, pids in box.parts().items():
        for pid in pids:
            one = _of_process(pid)
            for what, value in one.items():
                found[f"{name} {what}"] = found.get(f"{name} {what}", 0) + value
    for side in ("", "-wal"):
        path = box.data_dir / f"journal.db{side}"
        found[f"journal{side}"] = path.stat().st_size if path.exists() else 0
    found["pictures"] = sum(1 for _ in (box.data_dir / "images").rglob("*.png"))
    return found


def _of_process(pid: int) -> dict[str, int]:
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return {
        "rss": int(status["VmRSS"].split()[0]) << 10,
        "descriptors": len(os.listdir(process / "fd")),
        "threads": int(status["Threads"]),
    }


def _processes() -> Iterator[tuple[int, int, str]]:
    """Pid, parent and words of every process."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            yield int(path.name), parent, (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def _sum_up(verdict: SoakVerdict, samples: list[dict[str, Any]]) -> None:
    """Early is the second fifth (by then everything was used once), late the last."""
    verdict.minutes = len(samples) * EVERY / 60
    verdict.restarted = sorted({name for sample in samples for name in sample["restarted"]})
    fifth = max(1, len(samples) // 5)
    for name in samples[-1]["taken"] if samples else ():
        values = [sample["taken"].get(name, 0) for sample in samples]
        early, late = median(values[fifth : 2 * fifth] or values), median(values[-fifth:])
        verdict.taken[name] = {"early": early, "late": late, "smallest": min(values), "largest": max(values)}
        leaks = name.endswith((" descriptors", " threads")) and late > early
        swells = name.endswith(" rss") and late > early * _MORE and late > early + _MORE_BYTES
        if leaks or swells or (name == "journal-wal" and max(values) > WAL_LIMIT):
            verdict.grown.append(f"{name}: {early:.0f} → {late:.0f}, at most {max(values)}")
