"""kill -9 of web and engine, at random instants and at every named commit point, while people ask."""

from __future__ import annotations

import random
import time
from pathlib import Path

from torture.box import Box, Plot, running, until
from torture.checker import Verdict, audit, check
from torture.history import History
from torture.requesters import Requesters
from torture.rest import keep_until_rest

_STEPS = (10, 100)  # of a millisecond and more: the engine is never long without work
_PASSES = 3.0  # seconds for a process to come by the point it was told to die at
_SELDOM = ("open", "stop", "cancel")  # passed once or so in a process's life
_OPEN = ("open.uncommitted", "open.committed")
FAILPOINTS = {
    "web": (*_OPEN, "submit.uncommitted", "submit.committed", "cancel.uncommitted", "cancel.committed"),
    "engine": (
        *_OPEN,
        *(f"{write}.{when}" for write in ("open_session", "claim", "finish", "stop") for when in
          ("uncommitted", "committed")),
        "file.written", "file.renamed", "image.stored",
    ),
}  # fmt: skip


def torment(folder: Path, plot: Plot, seed: int, kills: int, jobs: int) -> Verdict:
    """Go on from what `folder` holds until `kills` kills and `jobs` accepted jobs; then calm, then the proof."""
    history = History(folder / "history.jsonl")
    data_dir = folder / "data"
    with running(data_dir, plot) as box:
        audit(data_dir / "journal.db")
        people = Requesters(box, history, seed, jobs, (1, 4) if plot.real else _STEPS)
        people.allow(history.count("kill") / max(1, kills))
        people.start()
        for number in range(history.count("kill"), kills):
            people.allow((number + 1) / kills)
            strike(box, history, random.Random(f"{seed} kill {number}"))
        keep_until_rest(box, people)
        box.stop()
    verdict = check(history, data_dir)
    history.close()
    return verdict


def strike(box: Box, history: History, chance: random.Random) -> None:
    """One kill, then everything is started again."""
    name = chance.choice(("web", "engine", "engine"))
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0.0, 0.4))
        box.kill(name)
        history.note("kill", name=name, at="random")
    else:
        point = chance.choice(FAILPOINTS[name])
        box.kill(name)
        box.start(name, f"{point}:{1 if point.startswith(_SELDOM) else chance.randint(1, 3)}")
        try:
            until(lambda: not box.alive(name), patience=_PASSES)
            history.note("kill", name=name, at=point)
        except TimeoutError:  # it did not pass there
            box.kill(name)
            history.note("kill", name=name, at="random", missed=point)
    box.keep()
