"""The checker: each kind of wrong, planted in a healthy folder, is found, and named as what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torture.checker import Verdict, check
from torture.history import History


def checked(folder: Path) -> Verdict:
    history = History(folder / "history.jsonl")
    try:
        return check(history, folder / "data")
    finally:
        history.close()


def sql(folder: Path, statement: str, *values: object) -> None:
    db = apsw.Connection(str(folder / "data" / "journal.db"))
    db.execute(statement, values)
    db.close()


def job(folder: Path, state: str) -> str:
    db = apsw.Connection(str(folder / "data" / "journal.db"))
    found = next(db.execute("SELECT id FROM jobs WHERE state = ? LIMIT 1", (state,)))[0]
    db.close()
    return str(found)


def note(folder: Path, what: str, **more: object) -> None:
    history = History(folder / "history.jsonl")
    history.note(what, **more)
    history.close()


def picture(folder: Path) -> Path:
    return next((folder / "data" / "images").rglob("*.png"))


def test_a_healthy_folder_is_good(folder: Path) -> None:
    verdict = checked(folder)
    assert verdict.good, verdict.told()
    assert verdict.accepted == 12
    assert verdict.pictures >= verdict.ends["finished"]


def test_the_half_written_last_line_of_a_killed_harness_is_passed_over(folder: Path) -> None:
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"what": "acc')
    assert checked(folder).good


def lose_a_job(folder: Path) -> None:
    note(folder, "accepted", number=99, id="never-kept", count=1)


def lose_sight_of_a_job(folder: Path) -> None:
    note(folder, "not found", id=job(folder, "finished"))


def leave_a_job_without_end(folder: Path) -> None:
    sql(folder, "UPDATE jobs SET state = 'running' WHERE id = ?", job(folder, "finished"))


def end_a_job_again(folder: Path) -> None:
    sql(folder, "UPDATE jobs SET state = 'finished' WHERE id = ?", job(folder, "finished"))


def end_a_job_otherwise(folder: Path) -> None:
    note(folder, "seen ended", id=job(folder, "finished"), state="cancelled")


def take_a_picture_away(folder: Path) -> None:
    picture(folder).unlink()


def cut_a_picture_short(folder: Path) -> None:
    path = picture(folder)
    path.write_bytes(path.read_bytes()[:-100])


def swap_two_pictures(folder: Path) -> None:
    one, other, *_ = sorted((folder / "data" / "images").rglob("*.png"))
    theirs = other.read_bytes()
    other.write_bytes(one.read_bytes())
    one.write_bytes(theirs)


def show_a_picture_less(folder: Path) -> None:
    sql(folder, "DELETE FROM images WHERE seq = (SELECT max(seq) FROM images)")


def leave_a_file_of_nobody(folder: Path) -> None:
    (folder / "data" / "images" / "nobodys.png").write_bytes(b"")


def refuse_somebody(folder: Path) -> None:
    note(folder, "refused", id="x", status=500, answer=None)


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (lose_a_job, "lost"),
        (lose_sight_of_a_job, "lost"),
        (leave_a_job_without_end, "endless"),
        (end_a_job_again, "ended_twice"),
        (end_a_job_otherwise, "changed"),
        (take_a_picture_away, "wrong_pictures"),
        (cut_a_picture_short, "wrong_pictures"),
        (swap_two_pictures, "wrong_pictures"),
        (show_a_picture_less, "wrong_pictures"),
        (leave_a_file_of_nobody, "orphans"),
        (refuse_somebody, "refused"),
    ],
)
def test_each_planted_wrong_is_found(folder: Path, plant: Callable[[Path], None], found: str) -> None:
    plant(folder)
    verdict = checked(folder)
    assert asdict(verdict)[found], verdict.told()
    assert not verdict.good
    assert "WRONG" in verdict.told()


@settings(max_examples=15)
@given(lost=st.sets(st.integers(100, 200), min_size=1, max_size=5))
def test_exactly_the_lost_are_named(lived: Path, tmp_path: Path, lost: set[int]) -> None:
    lines = (lived / "history.jsonl").read_text()
    lines += "".join(
        json.dumps({"what": "accepted", "number": n, "id": f"t3-{n}", "count": 1}) + "\n" for n in sorted(lost)
    )
    (tmp_path / "history.jsonl").write_text(lines)
    history = History(tmp_path / "history.jsonl")
    assert set(check(history, lived / "data").lost) == {f"t3-{n}" for n in lost}
    history.close()
