"""Power cuts by replay: a box's system calls are recorded once, then the power is cut at seeded places among them.

Each time the data folder is built as a disk may leave it (see `disk`), opened by the real journal, held against what
had been promised by then, and drawn to its end. The recorded box is one process (`life`): what two processes would
write between each other's writes is not covered here but by `kills`.
"""

from __future__ import annotations

import random
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from appliance.engines.faulty import Faulty
from appliance.errors import EnsuenoError
from appliance.journal import Journal
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from torture.box import Plot
from torture.checker import Verdict, is_of
from torture.history import History
from torture.life import ACCEPTED, driver_of
from torture.requesters import ENDS
from torture.writelog import Call, Player, parsed, record

_NEAR = 3  # calls


@dataclass
class CutVerdict(Verdict):
    """Of cuts; `accepted`, `ends` and `pictures` are sums over all cuts, of what had been promised by then."""

    cuts: int = 0
    calls: int = 0
    broken: list[str] = field(default_factory=list)  # the journal could not be opened, or is damaged

    def told(self) -> str:
        """One line for people."""
        return f"{self.cuts} power cuts among {self.calls} writing system calls; {super().told()}"


def torment(folder: Path, plot: Plot, seed: int, cuts: int, jobs: int) -> CutVerdict:
    """Go on from what `folder` holds until `cuts` cuts of a recorded run of `jobs` jobs."""
    calls = recorded(folder, plot, seed, jobs)
    history = History(folder / "history.jsonl")
    pipeline = TextToImage.load(Bundle.open(plot.bundle), Faulty(folder / "orders", seconds=0), threads=1)
    moments = [(_moment(calls, random.Random(f"{seed} moment {number}")), number) for number in range(cuts)]
    done = {line["number"] for line in history.lines() if line["what"] == "cut"}
    player = Player((folder / "data").resolve(), (folder / "markers").resolve())
    promised: list[str] = []
    played = 0
    for moment, number in sorted(moments):
        for call in calls[played:moment]:
            promised += (player.play(call) or "").splitlines()
        played = moment
        if number not in done:
            where = folder / "cut"
            shutil.rmtree(where, ignore_errors=True)
            player.root.after_a_cut(random.Random(f"{seed} cut {number}"), where)
            history.note("cut", number=number, moment=moment, **judge(where, promised, pipeline))
    verdict = summed(history, len(calls))
    history.close()
    return verdict


def recorded(folder: Path, plot: Plot, seed: int, jobs: int) -> list[Call]:
    """The calls of the run, made now unless it was."""
    log, data_dir, markers = (folder.resolve() / name for name in ("calls.log", "data", "markers"))
    if not log.is_file():
        shutil.rmtree(data_dir, ignore_errors=True)
        markers.unlink(missing_ok=True)
        data_dir.mkdir()
        how = ["careless"] if plot.careless else []
        life = [sys.executable, "-m", "torture.life", data_dir, plot.bundle.resolve(), seed, jobs, markers, *how]
        record([str(word) for word in life], log.with_suffix(".draft"))
        log.with_suffix(".draft").rename(log)
    with log.open(encoding="ascii") as lines:
        return list(parsed(lines))


def judge(where: Path, promised: list[str], pipeline: TextToImage) -> dict[str, Any]:
    """What is wrong in a folder that was cut off, and what was right, as a line of the history."""
    accepted = [line.split()[1] for line in promised if line.startswith(ACCEPTED)]
    ended = {line.split()[1]: line.split()[2] for line in promised if not line.startswith(ACCEPTED)}
    found: dict[str, Any] = {"accepted": len(accepted), "ended": len(ended)}
    try:
        journal = Journal(where / "journal.db", reserve=0, boot="after the cut")
        found["broken"] = _damage(where / "journal.db")
        before = _jobs(where / "journal.db")
        found["lost"] = [job_id for job_id in accepted if job_id not in before]
        found["changed"] = [job_id for job_id, state in ended.items() if before.get(job_id, (state,))[0] != state]
        found["wrong_pictures"] = _wrong_pictures(where, before)
        driver = driver_of(where, pipeline, journal)
        while driver.turn():
            pass
        journal.close()
        after = _jobs(where / "journal.db")
        found["pictures"] = sum(1 for _ in (where / "images").rglob("*.png"))
        found["endless"] = [job_id for job_id, (state, _) in after.items() if state not in ENDS]
        found["wrong_pictures"] += [f"{job_id} later" for job_id in _wrong_pictures(where, after)]
    except (EnsuenoError, apsw.Error) as error:
        found["broken"] = [str(error)]
    return found


def summed(history: History, calls: int) -> CutVerdict:
    """All cuts of a history as one verdict."""
    verdict = CutVerdict(calls=calls)
    for line in history.lines():
        if line["what"] == "cut":
            verdict.cuts += 1
            verdict.accepted += line["accepted"]
            verdict.pictures += line.get("pictures", 0)
            verdict.ends["told"] = verdict.ends.get("told", 0) + line["ended"]
            for wrong in ("broken", "lost", "changed", "endless", "wrong_pictures"):
                getattr(verdict, wrong).extend(f"cut {line['number']}: {what}" for what in line.get(wrong, ()))
    return verdict


def _moment(calls: list[Call], chance: random.Random) -> int:
    """How many calls still happened: any number, or so many that something was promised just before."""
    anywhere = chance.randint(0, len(calls))
    if chance.random() < 0.5:
        return anywhere
    for index in range(anywhere, len(calls)):
        if calls[index].name == "write" and calls[index].strings[0].startswith((b"ACK ", b"END ")):
            return min(len(calls), index + 1 + chance.randint(0, _NEAR))
    return anywhere


def _damage(journal: Path) -> list[str]:
    db = apsw.Connection(str(journal))
    try:
        answers = [str(row[0]) for row in db.execute("PRAGMA integrity_check")]
    finally:
        db.close()
    return [answer for answer in answers if answer != "ok"]


def _jobs(journal: Path) -> dict[str, tuple[str, str]]:
    db = apsw.Connection(str(journal))
    try:
        return {row[0]: (row[1], row[2]) for row in db.execute("SELECT id, state, request FROM jobs")}
    finally:
        db.close()


def _wrong_pictures(where: Path, jobs: dict[str, tuple[str, str]]) -> list[str]:
    """Of every picture that the journal shows, those that are not whole on the disk."""
    db = apsw.Connection(str(where / "journal.db"))
    try:
        rows = list(db.execute("SELECT id, job, seed FROM images"))
    finally:
        db.close()
    path = {picture.stem: picture for picture in (where / "images").rglob("*.png")}
    return [job for image, job, seed in rows if not is_of(path.get(image), jobs[job][1], seed)]
