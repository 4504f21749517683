"""A library that kills the process at its loading costs a rung, not the box: real processes die here."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import NoEngine
from appliance.ladder.attempts import attempted

ROOT = Path(__file__).resolve().parents[2]
MADE = {"library": "1"}

CLIMB = """
import json, os, signal, sys
from pathlib import Path
from appliance.ladder import ladder
from appliance.config import Settings
from appliance.pipeline.manifest import Bundle

def deadly(settings):
    os.kill(os.getpid(), getattr(signal, sys.argv[3]))
    signal.pause()

ladder.RUNGS = (ladder.Rung("deadly", deadly, (sys.argv[4],)), ladder.RUNGS[-1])
settings = Settings(bundle=Path(sys.argv[1]), data_dir=Path(sys.argv[2]), threads=1)
climbed = ladder.climb(Bundle.open(settings.bundle), settings)
print(json.dumps([climbed.pipeline.engine_name, climbed.passed_over]))
"""


def climb(
    bundle: Path, data: Path, dies_of: str = "SIGSEGV", library: str = "numpy"
) -> subprocess.CompletedProcess[str]:
    """A process that climbs a ladder whose first rung kills it; `library` is what that rung is made of."""
    arguments = [str(bundle), str(data), dies_of, library]
    return subprocess.run(
        [sys.executable, "-c", CLIMB, *arguments], capture_output=True, text=True, cwd=ROOT, env={"PATH": ""}
    )


def test_a_library_that_kills_the_process_twice_is_passed_over_until_it_is_another(
    tiny_folder: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        assert climb(tiny_folder, tmp_path).returncode == -signal.SIGSEGV
    third = climb(tiny_folder, tmp_path)
    assert third.returncode == 0, third.stderr
    engine, (sentence,) = json.loads(third.stdout)
    assert engine == "onnxruntime"
    assert sentence.startswith("deadly: The process died 2 times while it was loaded: install another version")
    assert str(tmp_path / "attempts") in sentence
    assert climb(tiny_folder, tmp_path, library="pydantic").returncode == -signal.SIGSEGV


def test_a_process_that_was_ended_for_hanging_counts_as_well(tiny_folder: Path, tmp_path: Path) -> None:
    """As the supervisor and systemd end it."""
    for _ in range(2):
        assert climb(tiny_folder, tmp_path, "SIGKILL").returncode == -signal.SIGKILL
    assert climb(tiny_folder, tmp_path, "SIGKILL").returncode == 0


def die(folder: Path) -> None:
    code = "import os, sys; from pathlib import Path; from appliance.ladder.attempts import attempted\n"
    code += f"with attempted(Path(sys.argv[1]), 'rung', {MADE!r}): os.abort()"
    assert subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT).returncode == -signal.SIGABRT


def test_one_death_is_forgiven_once_it_loads(tmp_path: Path) -> None:
    die(tmp_path)
    with attempted(tmp_path, "rung", MADE):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_rung_that_raises_is_no_death(tmp_path: Path) -> None:
    for reason in (NoEngine("It is not here."), KeyboardInterrupt(), RuntimeError("a surprise")):
        with pytest.raises(type(reason)), attempted(tmp_path, "rung", MADE):
            raise reason
    assert list(tmp_path.iterdir()) == []


def test_processes_that_load_at_once_do_not_take_each_other_for_dead(tmp_path: Path) -> None:
    with attempted(tmp_path, "rung", MADE), attempted(tmp_path, "rung", MADE), attempted(tmp_path, "rung", MADE):
        assert len(list(tmp_path.iterdir())) == 3


def test_every_rung_has_its_own_deaths(tmp_path: Path) -> None:
    die(tmp_path)
    die(tmp_path)
    with attempted(tmp_path, "rung-two", MADE):
        pass
    with pytest.raises(NoEngine), attempted(tmp_path, "rung", MADE):
        pass


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"\xff{"), lambda path: path.write_bytes(b"[]")])
def test_a_mark_that_cannot_be_read_counts_for_nothing(tmp_path: Path, spoil: Any) -> None:
    die(tmp_path)
    die(tmp_path)
    for path in tmp_path.iterdir():
        spoil(path)
    with attempted(tmp_path, "rung", MADE):
        pass


def test_a_folder_that_cannot_be_made_costs_no_rung(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with attempted(tmp_path / "file" / "attempts", "rung", MADE):
        pass
