"""The proof: what was promised, held against the journal and the disk, by code that the box does not use.

Reads the journal's file with SQLite alone and the pictures with Pillow alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import apsw
from PIL import Image

from torture.history import History
from torture.requesters import ENDS

_AUDIT = f"""
CREATE TABLE IF NOT EXISTS torture_ends (job TEXT NOT NULL, state TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS torture_audit AFTER UPDATE OF state ON jobs WHEN NEW.state IN {ENDS}
BEGIN INSERT INTO torture_ends VALUES (NEW.id, NEW.state); END;
"""


def audit(journal: Path) -> None:
    """Let the journal itself count every end that is written into it, in the same transaction."""
    db = apsw.Connection(str(journal))
    db.set_busy_timeout(10_000)
    db.execute(_AUDIT)
    db.close()


@dataclass
class Verdict:
    """What was found; all the lists are empty when nothing is wrong."""

    accepted: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    pictures: int = 0
    lost: list[str] = field(default_factory=list)  # accepted, and the journal does not know them
    endless: list[str] = field(default_factory=list)
    ended_twice: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # seen ended in one way, ended in another
    wrong_pictures: list[str] = field(default_factory=list)  # not as many as asked, damaged, or another's
    orphans: list[str] = field(default_factory=list)  # files of no finished job
    refused: list[str] = field(default_factory=list)  # answers that no user should get

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(value for value in asdict(self).values() if isinstance(value, list))

    def told(self) -> str:
        """One line for people."""
        wrong = {name: len(value) for name, value in asdict(self).items() if isinstance(value, list) and value}
        ends = ", ".join(f"{count} {name}" for name, count in sorted(self.ends.items()))
        return f"accepted {self.accepted}: {ends}; pictures {self.pictures}; " + (
            f"WRONG: {wrong}" if wrong else "nothing lost, nothing twice"
        )


def check(history: History, data_dir: Path, verdict: Verdict | None = None) -> Verdict:
    """Hold the history against what is there, and add what is found to `verdict`. The box must be at rest."""
    lines = list(history.lines())
    promised = {line["id"]: line for line in lines if line["what"] == "accepted"}
    verdict = verdict or Verdict()
    verdict.accepted = len(promised)
    verdict.refused = [f"{line['id']} {line['status']}" for line in lines if line["what"] == "refused"]
    verdict.lost = [line["id"] for line in lines if line["what"] == "not found"]
    db = apsw.Connection(str(data_dir / "journal.db"))
    jobs = {row[0]: row[1:] for row in db.execute("SELECT id, state, request, images FROM jobs")}
    verdict.lost += [job_id for job_id in promised if job_id not in jobs]
    verdict.endless = [job_id for job_id, job in jobs.items() if job[0] not in ENDS]
    verdict.ends = dict(Counter(job[0] for job in jobs.values()))
    counts = Counter(row[0] for row in db.execute("SELECT job FROM torture_ends"))
    verdict.ended_twice = [job_id for job_id, job in jobs.items() if job[0] in ENDS and counts[job_id] != 1]
    seen = [line for line in lines if line["what"] == "seen ended" and line["id"] in jobs]
    verdict.changed = [line["id"] for line in seen if jobs[line["id"]][0] != line["state"]]
    deleted = {line["image"]: line["sure"] for line in lines if line["what"] == "deleted"}
    _check_pictures(verdict, db, jobs, promised, deleted, data_dir / "images")
    db.close()
    return verdict


def _check_pictures(
    verdict: Verdict,
    db: apsw.Connection,
    jobs: dict[str, Sequence[Any]],
    promised: dict[str, Any],
    deleted: dict[str, bool],
    folder: Path,
) -> None:
    """`deleted`: pictures that somebody had deleted, and whether the box said so; without an answer both may be."""
    files = {path.stem: path for path in folder.rglob("*.png")}
    shown: dict[str, list[tuple[str, int]]] = {}
    for image, job_id, seed in db.execute("SELECT id, job, seed FROM images ORDER BY seq"):
        shown.setdefault(job_id, []).append((image, seed))
    for job_id, (state, request, images) in jobs.items():
        found = shown.get(job_id, [])
        there = {image for image, _ in found}
        drawn = json.loads(images) if state == "finished" else []
        gone = [image for image in drawn if deleted.get(image) or (image in deleted and image not in there)]
        expected = [image for image in drawn if image not in gone]
        asked = promised.get(job_id, {}).get("count", json.loads(request)["count"])
        right = [image for image, _ in found] == expected and (state != "finished" or len(drawn) == asked)
        if not right or not all(is_of(files.pop(image, None), request, seed) for image, seed in found):
            verdict.wrong_pictures.append(job_id)
        verdict.pictures += len(found)
    verdict.orphans = sorted(files)


def is_of(path: Path | None, request: str, seed: int) -> bool:
    """Whether the file is a whole picture that says it is of this request and seed."""
    if path is None:
        return False
    try:
        with Image.open(path) as picture:
            picture.load()
            low, high = picture.convert("L").getextrema()
            words = str(picture.info.get("parameters", ""))
    except (OSError, SyntaxError, ValueError):
        return False
    return low != high and json.loads(request)["prompt"] in words and f"Seed: {seed}" in words
