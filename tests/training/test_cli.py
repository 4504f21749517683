"""The command line: one sentence and status 2 for bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.__main__ import main


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
    assert error.startswith("training: ")
    assert error.count("\n") == 1
    assert error.rstrip().endswith(".")


WRONG = [[], ["fly"], ["train"], ["export", "emoji-128"], ["train", "x", "--minutes", "y"]]


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_a_run_that_is_not_toml_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.toml").write_text("name = [")
    assert main(["data", str(tmp_path / "bad.toml")]) == 2
    assert "not valid TOML" in capsys.readouterr().err
