"""A run is checked when it is read, and says in one sentence what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training import run as runs
from training.corpus import language
from training.errors import TrainingError

SHIPPED = sorted(path.stem for path in (runs.PACKAGE / "runs").glob("*.toml"))


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("name",), None, "lacks the setting 'name'"),
        (("surprise",), 1, "no setting named 'surprise'"),
        (("data", "size"), 33, "multiple of 16"),
        (("data", "size"), "32", "of type int"),
        (("data", "strangers"), 1.5, "of type int"),
        (("unet", "attention"), [True], "as many entries"),
        (("unet", "widths"), 5, "must be a list"),
        (("autoencoder", "encoder_blocks"), [1, 1], "as many encoder_blocks"),
        (("stages", "decoder"), None, "lacks the stage 'decoder'"),
        (("scenes", "actors"), None, "lacks the setting 'actors'"),
        (("people",), [{"id": "1f9d1"}], "lacks the setting 'pictures'"),
        (("locales",), {}, "at least one locale"),
        (("locales", "en", "tag"), None, "lacks the setting 'tag'"),
        (("colours",), {"red": {"rgb": [[1, 2]]}}, "must have 3 entries"),
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


def test_what_a_run_does_not_say_has_a_usual_value(table: dict[str, Any]) -> None:
    table["captions"] = {}
    del table["data"]["strangers"]
    run = runs.parse_run(table)
    assert run.captions == runs.CaptionSettings()
    assert run.data.strangers == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_the_runs_that_ship_are_sound(name: str) -> None:
    run = runs.load_run(name)
    assert run.name == name
    assert run.data.size % run.latent_size == 0
    assert len({locale.tag for locale in run.locales.values()}) == len(run.locales)
    for locale in run.locales.values():
        assert set(run.colours) <= set(language.load(locale.language).colours)
    assert all(
        any(prompt.startswith(f"{locale.tag}: ") for locale in run.locales.values()) for prompt in run.sample.prompts
    )
    people = [person.id for person in run.people]
    assert len(people) == len(set(people))


def test_a_run_may_be_any_toml_file(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Cannot read"):
        runs.load_run(str(tmp_path / "none.toml"))
    (tmp_path / "mine.toml").write_text((runs.PACKAGE / "runs" / f"{SHIPPED[0]}.toml").read_text("utf-8"), "utf-8")
    assert runs.load_run(str(tmp_path / "mine.toml")) == runs.load_run(SHIPPED[0])


def test_the_package_carries_every_file_that_it_reads() -> None:
    """pyproject's package data against the tree: an installed `training` must find its tables."""
    patterns = runs.read_toml(runs.ROOT / "pyproject.toml")["tool"]["setuptools"]["package-data"]["training"]
    carried = {path for pattern in patterns for path in runs.PACKAGE.glob(pattern)}
    assert carried >= set(runs.PACKAGE.rglob("*.toml"))
