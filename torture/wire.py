"""`python -m torture.wire --folder F …`: two boxes of one pool, a broker and people who ask; each is killed by chance.

Every job must come to exactly one end, whoever dies: what a box said it accepted is in its journal, the journal ends it
once, and each who asked hears one end. The fault-injecting engine draws, and all of the wire's own pauses, patiences
and leases are about ten times shorter than they ship: it is the order of things that is tormented, not their length.

The same command on the same folder goes on where it was. With --careless, the negative control, a box says `accepted` a
moment before it is on the disk, and must be found out. A kill is no power cut: the page cache lives on.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import apsw

import appliance.worker.process as worker
from appliance import config
from appliance.config import BUNDLED, Settings
from appliance.engines.faulty import Faulty
from mqtt import connection, jobs, link, looks, pool, requester
from mqtt.messages import Accepted, End
from mqtt.requester import Target
from torture import careless
from torture.box import free_port, until
from torture.broker import Mosquitto
from torture.bundle import hollow
from torture.checker import audit
from torture.conclusion import conclude
from torture.crowd import Crowd, Request
from torture.forks import Fork
from torture.history import History
from torture.requesters import ENDS, wish

POOL = "torture"
BOXES = ("box-1", "box-2")
REQUESTERS = 3
_PACES = {
    connection: {"_FIRST_PAUSE": 0.05, "_LONGEST_PAUSE": 0.5},
    requester: {"FIRST_PATIENCE": 0.3, "LONGEST_PATIENCE": 1.0},
    pool: {"LEASE": 2.0, "RENEW": 0.5},
    looks: {"AGAIN": 0.5},
    jobs: {"_LOOK_EVERY": 0.5},
}
_POINTS = {
    "link": ("submit.uncommitted", "submit.committed", "cancel.uncommitted", "cancel.committed"),
    "engine": ("claim.committed", "finish.uncommitted", "finish.committed", "file.renamed", "image.stored"),
}
_REST = 300.0  # seconds for all that is asked to come to its end, once nobody is killed any more


def hurry() -> None:
    """Shorten every pause of the wire."""
    for module, paces in _PACES.items():
        for name, seconds in paces.items():
            assert hasattr(module, name)
            setattr(module, name, seconds)


class World:
    """Everything that lives in `folder`, and what has been seen of it."""

    def __init__(self, folder: Path, seed: int, jobs: int, careless: bool) -> None:
        self.folder = folder
        self.seed = seed
        self.jobs = jobs
        self.careless = careless
        self.bundle = hollow(folder / "bundle", BUNDLED)
        self.history = History(folder / "history.jsonl")
        self.broker = Mosquitto(folder / "broker", free_port())
        self.boxes = [
            self._fork(f"{kind} {box}", partial(life, box)) for box in BOXES for kind, life in
            (("link", self._link), ("engine", self._engine))
        ]  # fmt: skip
        self.people = [self._fork(f"requester {number}", partial(self._ask, number)) for number in range(REQUESTERS)]

    def settings(self, box: str) -> Settings:
        given = {"data_dir": self.folder / box, "bundle": self.bundle, "mqtt_device": box, "mqtt_pool": POOL}
        broker = f"mqtt://127.0.0.1:{self.broker.port}"
        return config.load({**given, "mqtt": broker, "reserve_mib": 0, "engine": "onnxruntime", "mqtt_home": False})

    def keep(self) -> None:
        """Start whoever died; a requester that has all its ends is left alone."""
        for fork in (self.broker, *self.boxes):
            fork.keep()
        for person in self.people:
            if not (person.starts and not person.alive() and person.status == 0):
                person.keep()

    def asked(self) -> dict[str, Request]:
        """Every job there is to be."""
        return {request.id: request for request in map(self._request, range(self.jobs))}

    # --- the lives of the forks --------------------------------------------------------------------------------------

    def _fork(self, name: str, live: Any) -> Fork:
        return Fork(name, live, self.folder / f"{name.replace(' ', '-')}.log")

    def _link(self, box: str) -> None:
        logging.basicConfig(level=logging.WARNING)
        if self.careless:
            careless.promise_too_early()
        link.run(self.settings(box))

    def _engine(self, box: str) -> None:
        worker.run(self.settings(box), lambda _: Faulty(self.folder / box / "orders"))

    def _ask(self, number: int) -> None:
        mine = [request for index, request in enumerate(self.asked().values()) if index % REQUESTERS == number]
        ended = {line["id"] for line in self.history.lines() if line["what"] == "end"}
        left = [request for request in mine if request.id not in ended]
        crowd = Crowd(self.broker.address, f"people-{number}", left, 6, self._heard)
        crowd.run(time.monotonic)

    def _heard(self, answer: Accepted | End) -> None:
        if isinstance(answer, Accepted):
            self.history.note("accepted", id=answer.id, device=answer.device)
        else:
            pictures = [picture.sha256 for picture in answer.images]
            told = {"device": answer.device, "state": answer.state.value, "pictures": pictures}
            self.history.note("end", id=answer.id, **told)

    def _request(self, number: int) -> Request:
        """Of one box, of the other, or of the pool; some are cancelled, some are more urgent."""
        fields = wish(self.seed, number)
        job_id = fields.pop("id")
        device = (*BOXES, None)[number % 3]
        priority = ("low", "normal", "high")[number // 3 % 3]
        target = Target.of(device, None if device else POOL)
        return Request(job_id, fields | {"priority": priority}, target, cancel=number % 10 == 9 and device is not None)


@dataclass
class Verdict:
    """What was found. The lists are empty when nothing is wrong."""

    asked: int = 0
    heard: int = 0  # jobs whose asker has the end
    ends: dict[str, int] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)  # `accepted` was said, and the journal does not know it
    endless: list[str] = field(default_factory=list)  # the asker never heard, or a journal has no end
    ended_twice: list[str] = field(default_factory=list)  # in one journal
    two_ends: list[str] = field(default_factory=list)  # an asker was told different ends
    unasked: list[str] = field(default_factory=list)
    drawn_twice: int = 0  # pool's jobs that both boxes drew; one end was told

    @property
    def good(self) -> bool:
        return not (self.lost or self.endless or self.ended_twice or self.two_ends or self.unasked)

    def told(self) -> str:
        """One line for people."""
        kills = ", ".join(f"{count} of a {name}" for name, count in sorted(self.kills.items()))
        wrong = {name: len(value) for name, value in asdict(self).items() if isinstance(value, list) and value}
        found = f"WRONG: {wrong}" if wrong else "nothing lost, one end each"
        return (
            f"{self.asked} jobs asked, {self.heard} ends heard ({self.ends}); kills: {kills or 'none'};"
            f" {self.drawn_twice} of the pool's drawn twice; {found}"
        )


def torment(world: World, kills: int) -> Verdict:
    """Go on until `kills` kills of each kind; then let everything come to rest, and look."""
    with _living(world):
        for box in BOXES:
            until(lambda box=box: (world.folder / box / "journal.db").exists())
            until(lambda box=box: _is_made(world.folder / box / "journal.db"))
            audit(world.folder / box / "journal.db")
        for number in range(world.history.count("kill"), 3 * kills):
            strike(world, number, random.Random(f"{world.seed} kill {number}"))
        deadline = time.monotonic() + _REST
        while any(person.alive() or person.status for person in world.people) and time.monotonic() < deadline:
            world.keep()
            time.sleep(0.1)
        for fork in (*world.people, *world.boxes):
            fork.stop()
    return check(world)


def strike(world: World, number: int, chance: random.Random) -> None:
    """One kill, then whoever died is started again and may work a little."""
    kind = ("broker", "device", "requester")[number % 3]
    victims: dict[str, list[Fork]] = {"broker": [world.broker], "device": world.boxes, "requester": world.people}
    fork = chance.choice(victims[kind])
    at = "random"
    time.sleep(chance.uniform(0.0, 0.5))
    points = _POINTS.get(fork.name.partition(" ")[0], ())
    if points and chance.random() < 0.5:
        at = chance.choice(points)
        fork.kill()
        fork.start(f"{at}:{chance.randint(1, 3)}")
        deadline = time.monotonic() + 1.0
        while fork.alive() and time.monotonic() < deadline:
            time.sleep(0.005)
    fork.kill()
    world.history.note("kill", name=kind, who=fork.name, at=at)
    if fork in world.boxes:
        _look_for_lost(world, fork.name.partition(" ")[2])
    world.keep()


def _look_for_lost(world: World, box: str) -> None:
    """What the box said is accepted is on the disk now, whatever died since."""
    said = {line["id"] for line in world.history.lines() if line["what"] == "accepted" and line["device"] == box}
    known = {row[0] for row in _rows(world.folder / box / "journal.db", "SELECT id FROM jobs")}
    for job_id in said - known:
        world.history.note("lost", id=job_id, device=box)


def check(world: World) -> Verdict:
    """Hold what was said against the journals."""
    lines = list(world.history.lines())
    asked = world.asked()
    verdict = Verdict(asked=len(asked), kills=dict(Counter(line["name"] for line in lines if line["what"] == "kill")))
    heard: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if line["what"] == "end":
            heard.setdefault(line["id"], []).append({key: value for key, value in line.items() if key != "what"})
    verdict.heard = len(heard)
    verdict.ends = dict(Counter(ends[0]["state"] for ends in heard.values()))
    verdict.lost = sorted({line["id"] for line in lines if line["what"] == "lost"})
    verdict.endless = sorted(asked.keys() - heard.keys())
    verdict.two_ends = sorted(job_id for job_id, ends in heard.items() if any(end != ends[0] for end in ends))
    finished: Counter[str] = Counter()
    for box in BOXES:
        file = world.folder / box / "journal.db"
        states = dict(_rows(file, "SELECT id, state FROM jobs"))
        counts = Counter(row[0] for row in _rows(file, "SELECT job FROM torture_ends"))
        verdict.endless += sorted(f"{box} {job_id}" for job_id, state in states.items() if state not in ENDS)
        verdict.ended_twice += sorted(
            job_id for job_id, state in states.items() if state in ENDS and counts[job_id] != 1
        )
        verdict.unasked += sorted(states.keys() - asked.keys())
        finished.update(job_id for job_id, state in states.items() if state == "finished")
        said = {line["id"] for line in lines if line["what"] == "accepted" and line["device"] == box}
        verdict.lost += sorted(said - states.keys())
    verdict.drawn_twice = sum(count > 1 for count in finished.values())
    return verdict


def _is_made(journal: Path) -> bool:
    try:
        return bool(_rows(journal, "SELECT 1 FROM sqlite_master WHERE name = 'jobs_by_turn'"))
    except apsw.Error:
        return False


def _rows(file: Path, sql: str) -> list[Any]:
    db = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        db.set_busy_timeout(10_000)
        return list(db.execute(sql))
    finally:
        db.close()


@contextmanager
def _living(world: World) -> Iterator[None]:
    try:
        world.broker.start()
        until(world.broker.answers)
        world.keep()
        yield
    finally:
        for fork in (*world.people, *world.boxes, world.broker):
            fork.kill()


def main(arguments: list[str]) -> int:
    """Torment, tell, keep the verdict; the exit status."""
    parser = argparse.ArgumentParser("python -m torture.wire", description=__doc__, allow_abbrev=False)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20, help="of each kind: broker, device, requester")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--careless", action="store_true")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    hurry()
    verdict = torment(World(options.folder, options.seed, options.jobs, options.careless), options.kills)
    return conclude(verdict, arguments, options.folder, options.careless)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
