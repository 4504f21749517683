"""The command line: one sentence and status 2 for bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from training.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "no-such-run"],
        ["export", "no-such-run", "--out", "x"],
        ["train", "emoji-128", "--folder", "/nonexistent/run", "--device", "cpu"],
        ["sample", "emoji-128", "--folder", "/nonexistent/run", "--device", "cpu"],
        ["export", "emoji-128", "--folder", "/nonexistent/run", "--out", "/nonexistent-out/x"],
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if "/nonexistent-out/x" in arguments:
        arguments = [*arguments[:-1], str(tmp_path / "x")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.rstrip().endswith(".")


WRONG = [
    [],
    ["fly"],
    ["train"],
    ["export", "emoji-128"],
    *(["train", "x", "--minutes", minutes] for minutes in ("y", "0", "-1", "nan", "inf")),
    ["sample", "x", "--steps", "0"],
]


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_usage_is_one_sentence_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.rstrip().endswith("--help`.")


def test_without_torch_it_says_how_to_get_it() -> None:
    code = "import sys; sys.modules['torch'] = None; from training.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "export", "emoji-128", "--out", "x"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 2
    assert answer.stderr.startswith("This needs torch: install it with `.venv/bin/pip install")
    assert answer.stderr.count("\n") == 1


def test_the_libraries_say_nothing_of_their_own(tmp_path: Path) -> None:
    words = ["export", "emoji-128", "--folder", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    answer = subprocess.run([sys.executable, "-m", "training", *words], capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1, answer.stderr


def test_a_run_that_is_not_toml_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.toml").write_text("name = [")
    assert main(["data", str(tmp_path / "bad.toml")]) == 2
    assert "not valid TOML" in capsys.readouterr().err
