"""The command line: one sentence and status 2 for bad input; runs are checked when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training import run as runs
from training.__main__ import main
from training.errors import TrainingError


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "no-such-run"],
        ["export", "no-such-run", "--out", "x"],
        ["train", "emoji-64", "--folder", "/nonexistent/run", "--device", "cpu"],
        ["score", "emoji-64", "--folder", "/nonexistent/run", "--device", "cpu"],
        ["score", "emoji-64", "--locale", "tlh"],
        ["score", "emoji-64", "--count", "0"],
        ["sample", "emoji-64", "--folder", "/nonexistent/run", "--device", "cpu"],
        ["export", "emoji-64", "--folder", "/nonexistent/run", "--out", "/nonexistent-out/x"],
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


WRONG = [[], ["fly"], ["train"], ["export", "emoji-64"], ["train", "x", "--minutes", "y"]]


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_a_run_that_is_not_toml_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.toml").write_text("name = [")
    assert main(["data", str(tmp_path / "bad.toml")]) == 2
    assert "not valid TOML" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("name",), None, "lacks the setting 'name'"),
        (("surprise",), 1, "no setting named 'surprise'"),
        (("data", "size"), 33, "multiple of 16"),
        (("data", "size"), "32", "of type int"),
        (("unet", "attention"), [True], "as many entries"),
        (("unet", "widths"), 5, "must be a list"),
        (("autoencoder", "encoder_blocks"), [1, 1], "as many encoder_blocks"),
        (("stages", "decoder"), None, "lacks the stage 'decoder'"),
        (("locales",), {}, "at least one locale"),
        (("colours",), [{"rgb": [[1, 2]], "words": {}}], "must have 3 entries"),
        (("captions",), 3, "must be a table"),
        (("locales", "en"), 3, "must be a table"),
        (("locales",), 3, "must be a table"),
    ],
)
def test_a_wrong_run_is_said(table: dict[str, Any], path: tuple[str, ...], value: Any, sentence: str) -> None:
    inner = table
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    with pytest.raises(TrainingError, match=sentence):
        runs.parse_run(table)


def test_the_runs_that_ship_are_sound() -> None:
    for path in (runs.PACKAGE / "runs").glob("*.toml"):
        run = runs.load_run(path.stem)
        assert run.name == path.stem
        assert run.latent_size == run.data.size // 8
        for locale in run.locales:
            assert all(locale in colour.words for colour in run.colours)
