"""A disk that fills up and is freed again, many times, while people ask: refused at the door, never lost after it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from appliance.ballast import NAME
from appliance.errors import Unavailable
from torture.box import Box, Plot, running
from torture.checker import Verdict, audit, check
from torture.history import History
from torture.requesters import Requesters, promise, wish
from torture.rest import keep_until_rest

MIB = 48
_DETACH = 2  # MNT_DETACH
RESERVE_MIB = 4
PROMPTLY = 1.0  # seconds for a refusal
_KEPT = 60  # pictures; a small disk takes no more
SOON = 5.0  # seconds from room on the disk to an accepted job


@dataclass
class FullVerdict(Verdict):
    """Of full disks."""

    cycles: int = 0
    slowest_refusal_s: float = 0.0
    slowest_recovery_s: float = 0.0
    not_refused: list[str] = field(default_factory=list)  # accepted by a full disk, or not refused with 507
    cleaned: int = 0  # full disks on which a picture was deleted, with the ballast that lay there
    not_cleaned: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)  # refusals and recoveries

    def told(self) -> str:
        """One line for people."""
        return (
            f"{self.cycles} full disks, on {self.cleaned} of them a picture was deleted; refused (507) within"
            f" {self.slowest_refusal_s:.2f} s, accepting again within {self.slowest_recovery_s:.2f} s; {super().told()}"
        )


def torment(folder: Path, plot: Plot, seed: int, cycles: int, jobs: int) -> FullVerdict:
    """Go on from what `folder` holds until `cycles` and `jobs`. Raises `Unavailable` where nothing can be mounted."""
    history = History(folder / "history.jsonl")
    data_dir = folder / "data"
    with small_disk(data_dir), running(data_dir, plot) as box:
        audit(data_dir / "journal.db")
        people = Requesters(box, history, seed, jobs)
        people.allow(history.count("full") / max(1, cycles))
        people.start()
        for number in range(history.count("full"), cycles):
            people.allow((number + 1) / cycles)
            cycle(box, history, seed, number)
        keep_until_rest(box, people)
        box.stop()
        verdict = FullVerdict()
        check(history, data_dir, verdict)
    _sum_up(verdict, history)
    history.close()
    return verdict


def cycle(box: Box, history: History, seed: int, number: int) -> None:
    """Fill the disk to the last byte, be refused, free it, be accepted."""
    chance = random.Random(f"{seed} full {number}")
    time.sleep(chance.uniform(0.0, 0.2))
    filler = box.data_dir / "filler"
    fill(filler)
    began = time.monotonic()
    status, _ = box.call("POST", "/v1/jobs", {**wish(seed, number), "id": f"r{seed}-{number}"})
    refused = time.monotonic() - began
    time.sleep(chance.uniform(0.0, 0.4))  # drawn pictures meet the full disk
    fill(filler)
    cleaned = clean(box, history) if (box.data_dir / NAME).exists() else None
    filler.unlink()
    freed = time.monotonic()
    promise(box, history, {**wish(seed, number), "id": f"f{seed}-{number}"}, -1 - number)
    history.note("full", number=number, status=status, refused=refused, recovered=time.monotonic() - freed,
                 cleaned=cleaned)  # fmt: skip
    while box.call("GET", "/v1/images?limit=100")[1]["images"][_KEPT:] and clean(box, history) == 200:
        pass


def clean(box: Box, history: History) -> int:
    """Delete the oldest picture of those shown first; → the answer's status."""
    status, shown = box.call("GET", "/v1/images?limit=100")
    if status != 200 or not shown["images"]:
        return status
    image = shown["images"][-1]["id"]
    status, _ = box.call("DELETE", f"/v1/images/{image}")
    if status in (200, 0):  # without an answer it may be gone
        history.note("deleted", image=image, sure=status == 200)
    return status


def fill(filler: Path) -> None:
    """Let this file take all that is left."""
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of `MIB` MiB in memory at `folder`; what an earlier run left on it goes on. Raises `Unavailable`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.path.ismount(folder):
        library = ctypes.CDLL(None, use_errno=True)
        if library.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={MIB}m,mode=700".encode()) != 0:
            number = ctypes.get_errno()
            reason = "root may mount it" if number == errno.EPERM else os.strerror(number)
            raise Unavailable(f"A small disk could not be mounted at {folder}: {reason}, run it as root.")
    yield


def unmount(folder: Path) -> None:
    """Take the small disk away, with what is on it, though somebody may still hold a file there."""
    ctypes.CDLL(None).umount2(os.fsencode(folder), _DETACH)


def _sum_up(verdict: FullVerdict, history: History) -> None:
    for line in history.lines():
        if line["what"] != "full":
            continue
        verdict.cycles += 1
        verdict.slowest_refusal_s = max(verdict.slowest_refusal_s, line["refused"])
        verdict.slowest_recovery_s = max(verdict.slowest_recovery_s, line["recovered"])
        verdict.cleaned += line["cleaned"] == 200
        if line["cleaned"] not in (200, None):
            verdict.not_cleaned.append(f"cycle {line['number']}: {line['cleaned']}")
        if line["status"] != 507:
            verdict.not_refused.append(f"cycle {line['number']}: {line['status']}")
        if line["refused"] > PROMPTLY or line["recovered"] > SOON:
            verdict.late.append(f"cycle {line['number']}")
