"""kill -9 of web and engine, at random instants and at every named commit point, while people ask."""

from __future__ import annotations

import random
import time
from pathlib import Path

from appliance.engines.faulty import give
from torture.box import Box, Plot, running, until
from torture.checker import Verdict, audit, check
from torture.history import History
from torture.house import Housekeeper
from torture.requesters import Requesters
from torture.rest import keep_until_rest

_STEPS = (10, 100)  # of a millisecond and more: the engine is never long without work
_PASSES = 3.0  # seconds for a process to come by the point it was told to die at
# passed once or so in a process's life
_SELDOM = ("open", "stop", "cancel", "fail", "release", "favourite", "feedback", "forget")
_WRITES = {
    "web": ("open", "submit", "cancel", "favourite", "feedback", "forget"),
    "engine": ("open", "open_session", "claim", "finish", "stop", "fail", "release"),
}
_COMMITS = {
    name: tuple(f"{write}.{when}" for write in writes for when in ("uncommitted", "committed"))
    for name, writes in _WRITES.items()
}
FAILPOINTS = {
    "web": _COMMITS["web"],
    "engine": (*_COMMITS["engine"], "file.written", "file.renamed", "image.stored"),
}


def torment(folder: Path, plot: Plot, seed: int, kills: int, jobs: int) -> Verdict:
    """Go on from what `folder` holds until `kills` kills and `jobs` accepted jobs; then calm, then the proof."""
    history = History(folder / "history.jsonl")
    data_dir = folder / "data"
    with running(data_dir, plot) as box:
        audit(data_dir / "journal.db")
        people = Requesters(box, history, seed, jobs, (1, 4) if plot.real else _STEPS)
        people.allow(history.count("kill") / max(1, kills))
        house = Housekeeper(box, history, seed)
        people.start()
        house.start()
        for number in range(history.count("kill"), kills):
            people.allow((number + 1) / kills)
            strike(box, history, random.Random(f"{seed} kill {number}"))
        house.stop()
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
        _lead_to(box, point)
        try:
            until(lambda: not box.alive(name), patience=_PASSES)
            history.note("kill", name=name, at=point)
        except TimeoutError:  # it did not pass there
            box.kill(name)
            history.note("kill", name=name, at="random", missed=point)
    box.keep()


def _lead_to(box: Box, point: str) -> None:
    """What makes the engine come by the points that no wish leads to."""
    if point.startswith("fail"):
        give(box.orders, "nan")
    elif point.startswith("release"):
        box.ask_to_stop("engine")
