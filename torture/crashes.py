"""Engines that crash, hang, draw no numbers or run out of memory, while people ask and somebody watches the page.

The web must live through all of it. A hang is ended by the harness' own watchdog, which reads the same pulse as the
supervisor but is more impatient (`HUNG` seconds where the supervisor grants 15 and more), so that many fit in a run;
the supervisor's own is proven by tests/test_serve.py.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from appliance.engines.faulty import ORDERS, give
from appliance.progress import Board, Pulse, board_folder, boottime
from torture.box import Box, Plot, running, until
from torture.checker import Verdict, audit, check
from torture.history import History
from torture.requesters import ENDS, Requesters, promise, wish
from torture.rest import keep_until_rest, state_of, waiting
from torture.visitor import BYSTANDER, figures, unanswered, visiting

HUNG = 4.0
SLOW_MS = 250.0
_SOME = 20  # jobs
_POISON_STEPS = 1000
_DEATHS = 3  # one beside another job, which is charged to nobody, and two alone


@dataclass
class CrashVerdict(Verdict):
    """Of crashes: what the web did meanwhile, and what became of a job that kills engines."""

    crashes: dict[str, int] = field(default_factory=dict)
    web_restarts: list[int] = field(default_factory=list)
    web_silent: list[str] = field(default_factory=list)  # questions that nobody answered
    web_slow: list[str] = field(default_factory=list)  # addresses whose p99 is `SLOW_MS` or more
    asked: dict[str, dict[str, float]] = field(default_factory=dict)  # what a visitor met at each address
    unearned: list[str] = field(default_factory=list)  # failed for deaths, with fewer than two of its own
    poison: list[str] = field(default_factory=list)  # did not end failed by two deaths alone
    next_began_s: float = 0.0  # after the poison job's last death

    def told(self) -> str:
        """One line for people."""
        count = ", ".join(f"{number} {order}" for order, number in sorted(self.crashes.items()))
        slow = ", ".join(f"{path} {found['p99_ms']:.0f} ms" for path, found in self.asked.items())
        return (
            f"{super().told()}; orders: {count}; web: restarts {sum(self.web_restarts)}, p99 {slow};"
            f" after a poison job the next began within {self.next_began_s:.1f} s"
        )


def torment(folder: Path, plot: Plot, seed: int, crashes: int, jobs: int) -> CrashVerdict:
    """Go on from what `folder` holds until `crashes` and `jobs`; then a poison job; then calm and the proof."""
    history = History(folder / "history.jsonl")
    data_dir = folder / "data"
    answers = folder / "answers"
    verdict = CrashVerdict()
    with running(data_dir, plot) as box:
        audit(data_dir / "journal.db")
        people = Requesters(box, history, seed, jobs)
        with visiting(box.port, wish(seed, 0)["id"], answers):
            people.allow(history.count("crash") / max(1, crashes))
            people.start()
            for number in range(history.count("crash"), crashes):
                people.allow((number + 1) / crashes)
                strike(box, history, seed, number)
            keep_until_rest(box, people)
            poison(box, history, verdict, seed)
            keep_until_rest(box, people)
        box.stop()
        history.note("web", restarts=box.starts["web"] - 1)
    verdict.web_restarts = [line["restarts"] for line in history.lines() if line.get("restarts")]
    verdict.asked = figures(answers)
    verdict.web_silent = unanswered(answers)
    verdict.web_slow = [
        path for path, found in verdict.asked.items() if path != BYSTANDER and found["p99_ms"] >= SLOW_MS
    ]
    verdict.crashes = dict(Counter(line["order"] for line in history.lines() if line["what"] == "crash"))
    verdict.unearned = _unearned(data_dir / "journal.db")
    check(history, data_dir, verdict)
    history.close()
    return verdict


def strike(box: Box, history: History, seed: int, number: int) -> None:
    """One order, obeyed by whichever picture comes next; then the engine is started again, if it died."""
    chance = random.Random(f"{seed} crash {number}")
    order = chance.choice(ORDERS)
    time.sleep(chance.uniform(0.0, 0.2))
    until(lambda: _proven(box))  # the order is for a person's picture, not for the engine's first
    give(box.orders, order)
    if waiting(box.data_dir / "journal.db") < _SOME:  # somebody must be drawn; a full queue would refuse for ever
        promise(box, history, {**wish(seed, number), "id": f"c{seed}-{number}"}, -1 - number)
    until(lambda: _obeyed(box, order))
    history.note("crash", order=order)
    box.keep()


def poison(box: Box, history: History, verdict: CrashVerdict, seed: int) -> None:
    """A job that kills each engine that draws it, and one behind it."""
    number = 10**6 + history.count("poison")
    history.note("poison", number=number)
    bad, good = f"p{seed}-{number}", f"n{seed}-{number}"
    journal = box.data_dir / "journal.db"
    promise(box, history, {**wish(seed, number), "id": bad, "steps": _POISON_STEPS, "count": 1}, number)
    promise(box, history, {**wish(seed, number), "id": good, "count": 1}, -number)
    deaths, died = 0, time.monotonic()
    while state_of(journal, bad) not in ENDS:
        until(lambda: _proven(box) and state_of(journal, bad) != "queued")
        if state_of(journal, bad) == "running":
            give(box.orders, "crash")
            until(lambda: not box.alive("engine"))
            deaths += 1
            died = time.monotonic()
        box.keep()
    until(lambda: state_of(journal, good) != "queued")
    verdict.next_began_s = time.monotonic() - died
    if state_of(journal, bad) != "failed" or deaths > _DEATHS:
        verdict.poison.append(f"{bad} {state_of(journal, bad)} after {deaths} deaths")


def _obeyed(box: Box, order: str) -> bool:
    """The order was taken, and the engine is dead of it; one that hangs is ended here. Of NaN only the job dies."""
    if box.alive("engine") and _silent(box) > HUNG:
        box.kill("engine")
    if not box.alive("engine"):
        return True
    return order == "nan" and not (box.orders / "next").exists()


def _silent(box: Box) -> float:
    """Seconds since the engine's last word; 0 while it loads."""
    pulse = _pulse(box)
    return boottime() - pulse.beat if pulse is not None and pulse.pictures else 0.0


def _proven(box: Box) -> bool:
    """Whether the present engine has drawn its first picture."""
    box.keep()
    pulse = _pulse(box)
    return pulse is not None and pulse.pictures > 0


def _pulse(box: Box) -> Pulse | None:
    """What the present engine said last."""
    pulse = Board(board_folder(box.data_dir)).pulse()
    return pulse if pulse is not None and pulse.pid == box.pid("engine") else None


def _unearned(journal: Path) -> list[str]:
    db = apsw.Connection(str(journal))
    try:
        asked = "SELECT id FROM jobs WHERE state = 'failed' AND error LIKE '%died twice%' AND deaths < 2"
        return [str(row[0]) for row in db.execute(asked)]
    finally:
        db.close()
