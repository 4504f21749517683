"""A hollow bundle, and a healthy folder that is broken by the tests in one way each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliance.journal import Journal
from appliance.pipeline.manifest import Bundle
from torture.bundle import hollow
from torture.checker import audit
from torture.history import History
from torture.life import live
from torture.requesters import wish

JOBS = 12


@pytest.fixture(scope="session")
def hollow_folder(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    return hollow(tmp_path_factory.mktemp("hollow") / "bundle", tiny_folder)


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory, hollow_folder: Path) -> Path:
    """A folder after jobs in good order, with its history: copy it."""
    folder = tmp_path_factory.mktemp("lived")
    data_dir = folder / "data"
    data_dir.mkdir()
    Journal(data_dir / "journal.db").close()
    audit(data_dir / "journal.db")
    history = History(folder / "history.jsonl")

    def tell(line: str) -> None:
        what, job_id, *state = line.split()
        number = int(job_id.rpartition("-")[2])
        if what == "ACK":
            history.note("accepted", number=number, id=job_id, count=wish(3, number)["count"])
        else:
            history.note("seen ended", id=job_id, state=state[0])

    live(data_dir, Bundle.open(hollow_folder), 3, JOBS, tell)
    history.close()
    return folder


@pytest.fixture
def folder(lived: Path, tmp_path: Path) -> Path:
    """A copy that the test may break."""
    return Path(shutil.copytree(lived, tmp_path / "copy"))
