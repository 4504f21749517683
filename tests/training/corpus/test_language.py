"""Languages are data that know everything a scene can show; plurals are right for what is drawn."""

from __future__ import annotations

import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus import FOLDER, language, scenes
from training.corpus.language import Language, english_plural, spanish_plural
from training.errors import TrainingError

CODES = [path.stem for path in (FOLDER / "languages").glob("*.toml")]
PHRASES = st.lists(st.text("abcdeilnorstxyzáéíóúñ", min_size=2, max_size=7), min_size=1, max_size=4).map(" ".join)


def plain(text: str) -> str:
    """Without accents."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


@given(PHRASES)
def test_an_english_plural_changes_one_word_by_its_end(noun: str) -> None:
    pairs = list(zip(noun.split(" "), english_plural(noun, {}).split(" "), strict=True))
    changed = [(one, many) for one, many in pairs if one != many]
    assert len(changed) == 1
    one, many = changed[0]
    assert many.startswith(one[:-1])
    assert many.endswith("s")


@given(PHRASES)
def test_a_spanish_plural_changes_words_by_their_ends_only(noun: str) -> None:
    for one, many in zip(noun.split(" "), spanish_plural(noun, {}).split(" "), strict=True):
        assert plain(many).startswith(plain(one)[:-1])
        assert len(one) <= len(many) <= len(one) + 2


@given(PHRASES, st.sampled_from(["of", "with", "in"]))
def test_in_english_what_follows_a_preposition_stays(noun: str, preposition: str) -> None:
    assert english_plural(f"cup {preposition} {noun}", {}) == f"cups {preposition} {noun}"


@given(PHRASES, st.sampled_from(["de", "con", "en"]))
def test_in_spanish_what_follows_a_preposition_stays(noun: str, preposition: str) -> None:
    assert spanish_plural(f"taza {preposition} {noun}", {}) == f"tazas {preposition} {noun}"


@pytest.mark.parametrize(
    ("code", "one", "many"),
    [
        ("en", "apple", "apples"),
        ("en", "red apple", "red apples"),
        ("en", "bus", "buses"),
        ("en", "box", "boxes"),
        ("en", "church", "churches"),
        ("en", "butterfly", "butterflies"),
        ("en", "key", "keys"),
        ("en", "person", "people"),
        ("en", "old man", "old men"),
        ("en", "snowman", "snowmen"),
        ("en", "sheep", "sheep"),
        ("en", "cup of coffee", "cups of coffee"),
        ("es", "manzana", "manzanas"),
        ("es", "manzana roja", "manzanas rojas"),
        ("es", "árbol", "árboles"),
        ("es", "pez", "peces"),
        ("es", "león", "leones"),
        ("es", "ratón", "ratones"),
        ("es", "autobús", "autobuses"),
        ("es", "cactus", "cactus"),
        ("es", "sofá", "sofás"),
        ("es", "robot", "robots"),
        ("es", "reloj", "relojes"),
        ("es", "muñeco de nieve", "muñecos de nieve"),
        ("es", "taza de café", "tazas de café"),
    ],
)
def test_plurals_of_what_is_drawn(code: str, one: str, many: str) -> None:
    assert language.load(code).plural_of(one) == many


@pytest.mark.parametrize("code", CODES)
def test_a_language_can_say_whatever_a_scene_shows(code: str) -> None:
    spoken = language.load(code)
    assert set(spoken.relations) == set(scenes.RELATIONS)
    assert set(spoken.places) == set(scenes.PLACES)
    assert set(spoken.extras) == set(scenes.EXTRAS)
    assert len(spoken.numbers) == 3
    assert all(spoken.colours.values())


def fields(template: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(template) if name is not None)


def templates(spoken: Language) -> list[tuple[str, list[str]]]:
    """Every template, and what it must have a place for."""
    return [
        (spoken.colour, ["colour", "noun"]),
        *((line, ["a"]) for line in spoken.single),
        *((line, ["a", "b"]) for lines in spoken.relations.values() for line in lines),
        *((line, ["a"]) for table in (spoken.places, spoken.extras) for lines in table.values() for line in lines),
        *((line, ["a", "colour"]) for line in spoken.backdrops),
    ]


@pytest.mark.parametrize("code", CODES)
def test_every_template_has_a_place_for_everything_it_says(code: str) -> None:
    for template, wanted in templates(language.load(code)):
        assert fields(template) == wanted, template


def test_a_language_that_is_not_there_is_said() -> None:
    with pytest.raises(TrainingError, match=r"Cannot read .*tlh\.toml"):
        language.load("tlh")


def test_a_plural_that_nobody_knows_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    english = (FOLDER / "languages" / "en.toml").read_text("utf-8")
    (tmp_path / "languages").mkdir()
    (tmp_path / "languages" / "xx.toml").write_text(
        english.replace('plural = "english"', 'plural = "klingon"'), "utf-8"
    )
    monkeypatch.setattr(language, "FOLDER", tmp_path)
    with pytest.raises(TrainingError, match=r"languages/xx\.toml: the plural must be one of"):
        language.load("xx")
