"""A damaged journal is found at the start, set aside under a name with the time, said, and a new one works."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.journal import Journal
from appliance.journal_check import main, note, set_aside_if_damaged
from appliance.lock import only_one
from appliance.request import GenerationRequest, Offer

PAGE = 4096
SOME = 40


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, tiny_offer: Offer) -> bytes:
    """The bytes of a journal with many jobs."""
    path = tmp_path_factory.mktemp("written") / "journal.db"
    journal = Journal(path, reserve=0)
    for number in range(SOME):
        journal.submit(GenerationRequest.of({"prompt": f"wish {number}"}, tiny_offer), job_id=f"job-{number}")
    journal.close()
    return path.read_bytes()


@pytest.fixture
def journal(written: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    path.write_bytes(written)
    return path


def test_a_sound_journal_stays_where_it_is(journal: Path) -> None:
    assert set_aside_if_damaged(journal) is None
    assert note(journal) is None
    assert Journal(journal).job("job-3").id == "job-3"


def test_no_journal_yet_and_an_empty_one_are_sound(tmp_path: Path) -> None:
    assert set_aside_if_damaged(tmp_path / "journal.db") is None
    (tmp_path / "journal.db").touch()
    assert set_aside_if_damaged(tmp_path / "journal.db") is None


def test_a_damaged_one_is_set_aside_and_a_new_one_accepts_jobs(journal: Path, tiny_offer: Offer) -> None:
    damage(journal, page=2)
    broken = journal.read_bytes()
    said = set_aside_if_damaged(journal, clock=lambda: 0.0)
    assert said is not None
    assert "journal.db.damaged-19700101-000000" in said
    assert (journal.parent / "journal.db.damaged-19700101-000000").read_bytes() == broken
    assert note(journal) == said
    fresh = Journal(journal, reserve=0)
    assert fresh.submit(GenerationRequest.of({"prompt": "again"}, tiny_offer))[1]
    fresh.close()
    assert set_aside_if_damaged(journal) is None


def test_systemds_way_sets_it_aside_and_says_so_on_standard_error(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--data-dir", str(journal.parent)]
    assert main(asked) == 0
    assert capsys.readouterr().err == "The job journal is whole.\n"
    damage(journal, page=2)
    assert main(asked) == 0
    assert "was damaged and lies aside as journal.db.damaged-" in capsys.readouterr().err
    assert not journal.exists()


def test_it_looks_at_nothing_while_an_engine_works(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(journal, page=2)
    with only_one(journal.parent / "engine.lock", "An engine"):
        assert main(["--data-dir", str(journal.parent)]) == 1
    assert "An engine" in capsys.readouterr().err
    assert journal.exists()


def test_the_write_ahead_log_goes_with_it(journal: Path) -> None:
    damage(journal, page=0)
    (journal.parent / "journal.db-wal").write_bytes(b"what was there")
    set_aside_if_damaged(journal, clock=lambda: 0.0)
    assert (journal.parent / "journal.db.damaged-19700101-000000-wal").read_bytes() == b"what was there"
    assert not (journal.parent / "journal.db-wal").exists()


@settings(max_examples=20)
@given(number=st.integers(0, 2**32))
def test_any_page_overwritten_by_noise_is_found(
    written: bytes, tmp_path_factory: pytest.TempPathFactory, number: int
) -> None:
    path = tmp_path_factory.mktemp("noise") / "journal.db"
    path.write_bytes(written)
    damage(path, page=number % (len(written) // PAGE), seed=number)
    assert set_aside_if_damaged(path) is not None


def damage(path: Path, page: int, seed: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[page * PAGE : (page + 1) * PAGE] = random.Random(seed).randbytes(PAGE)
    path.write_bytes(content)
