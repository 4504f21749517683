"""A box whose clock jumps: to 1970, a year on, a year back, again and again, while people ask and processes are killed.

What jumps is the time that Python tells in web and engine (`time.time`); the kernel's other clocks go on, as they do
when a time server or a flat battery sets a real clock. The engine must live through it: no job expires, none is drawn
twice, no engine is taken for dead.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from appliance.journal import Journal
from torture.box import Box, Plot, running
from torture.checker import Verdict, audit, check
from torture.history import History
from torture.requesters import Requesters
from torture.rest import keep_until_rest

YEAR = 365 * 86_400.0
FILE = "clock"
_STEPS = (10, 60)  # long enough for somebody to wait when the clock jumps
_PATIENCE = 7 * 86_400  # seconds until a job expires: no jump may bring that about


@dataclass
class ClockVerdict(Verdict):
    """Of jumps."""

    jumps: int = 0
    died: list[str] = field(default_factory=list)  # processes that a jump ended
    misfired: list[str] = field(default_factory=list)  # jobs that expired, which were patient for a week

    def told(self) -> str:
        """One line for people."""
        return f"{self.jumps} jumps of the clock; {super().told()}"


def bend(file: Path) -> None:
    """From now on this process is told the time that it is, and the seconds in the file."""
    told: Callable[[], float] = time.time

    def bent() -> float:
        return told() + offset(file)

    time.time = bent
    Journal.__init__.__kwdefaults__["clock"] = bent  # type: ignore[index]


def offset(file: Path) -> float:
    """The seconds in the file; 0 without one."""
    try:
        return float(file.read_text("ascii"))
    except (OSError, ValueError):
        return 0.0


def jump(file: Path, where: str) -> None:
    """Set the clock to 1970, a year on or back, or right."""
    seconds = {"1970": -time.time(), "a year on": YEAR, "a year back": -YEAR, "right": 0.0}[where]
    draft = file.with_suffix(".draft")
    draft.write_text(str(seconds), "ascii")
    draft.rename(file)


def torment(folder: Path, plot: Plot, seed: int, jumps: int, jobs: int) -> ClockVerdict:
    """Go on from what `folder` holds until `jumps` jumps and `jobs` accepted jobs."""
    history = History(folder / "history.jsonl")
    data_dir, clock = folder / "data", folder / FILE
    verdict = ClockVerdict()
    jump(clock, "right")
    with running(data_dir, plot) as box:
        audit(data_dir / "journal.db")
        people = Requesters(box, history, seed, jobs, _STEPS, expires_in=_PATIENCE)
        people.allow(0.0)
        people.start()
        for number in range(history.count("jump"), jumps):
            people.allow((number + 1) / jumps)
            strike(box, history, clock, random.Random(f"{seed} jump {number}"))
        keep_until_rest(box, people)
        box.stop()
    verdict.jumps = history.count("jump")
    verdict.died = [name for line in history.lines() for name in line.get("died", ())]
    check(history, data_dir, verdict)
    verdict.misfired = [f"{verdict.ends['expired']} jobs"] if verdict.ends.get("expired") else []
    history.close()
    return verdict


def strike(box: Box, history: History, clock: Path, chance: random.Random) -> None:
    """One jump; every third is met by new processes, as after a start with a wrong clock."""
    where = chance.choice(("1970", "a year on", "a year back", "right"))
    jump(clock, where)
    if chance.random() < 0.33:
        box.kill(chance.choice(("web", "engine")))
        box.keep()
    time.sleep(chance.uniform(0.1, 0.5))
    history.note("jump", to=where, died=[name for name in ("web", "engine") if not box.alive(name)])
    box.keep()
