"""What a locale calls a thing: inherited, added to, and given to one thing alone where the place has a word for it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.world import Packages
from training.corpus import words
from training.corpus.words import PlaceWord, Words
from training.errors import TrainingError

TEXT = st.text(min_size=1, max_size=8)
WORDS = st.builds(Words, TEXT, *[st.lists(TEXT, max_size=3).map(tuple)] * 4)
FOOTBALL = PlaceWord("football", {"en": "oval", "en-GB": "round"})


@given(st.dictionaries(TEXT, WORDS, max_size=3))
def test_the_packed_form_comes_back_whole(spoken: dict[str, Words]) -> None:
    assert words.from_json(json.loads(json.dumps(words.to_json(spoken)))) == spoken


def test_a_particular_locale_replaces_only_what_it_says() -> None:
    general = {"⚽": {"tts": ["soccer ball"], "default": ["ball", "soccer"]}, "🏈": {"tts": ["american football"]}}
    particular = {"⚽": {"tts": ["football"]}}
    merged = words.merge_annotations([general, particular])
    assert merged == {"⚽": Words("football", keywords=("ball", "soccer")), "🏈": Words("american football")}


def test_a_character_with_keywords_but_no_name_is_left_out() -> None:
    assert words.merge_annotations([{"x": {"default": ["word"]}}]) == {}


def test_a_locale_inherits_through_the_packages(packages: Packages) -> None:
    here = words.cldr(packages.words, ["en"], "en")
    there = words.cldr(packages.words, ["en", "en-001"], "en-GB")
    assert (here["⚽"].name, there["⚽"].name) == ("soccer ball", "football")
    assert here["⚽"].keywords == there["⚽"].keywords != ()
    assert here["🐕"] == there["🐕"]
    assert "❤\u200d🔥" in there, "derived annotations count as well"


def test_a_locale_that_no_package_knows_is_named(packages: Packages) -> None:
    with pytest.raises(TrainingError, match="'tlh'"):
        words.cldr(packages.words, ["tlh"], "tlh")


def test_everyday_names_are_said_once_and_before_the_full_one() -> None:
    spoken = words.with_everyday({"a": Words("automobile", ("car",)), "b": Words("moon")}, {"a": ["car", "motor"]})
    assert spoken["a"].short == ("car", "motor")
    assert spoken["b"].short == ("moon",)


def test_a_synonym_that_another_thing_is_called_is_not_taken() -> None:
    spoken = {"a": Words("dog face", ("dog",)), "b": Words("hound")}
    found = words.with_synonyms(spoken, {"dog": ["hound", "domestic dog"], "dog face": ["never asked for"]})
    assert found["a"].synonyms == ("domestic dog",)
    assert found["b"].synonyms == ()


def test_a_word_of_the_place_means_one_thing_there() -> None:
    spoken = {
        "round": Words("soccer ball", ("football", "ball"), keywords=("football", "sport")),
        "oval": Words("american football", synonyms=("football", "pigskin")),
    }
    american = words.with_places(spoken, [FOOTBALL], "en")
    assert american["oval"].local == ("football",)
    assert all("football" not in (*w.others, *w.synonyms, *w.keywords) for w in american.values())
    assert american["round"].local == ()
    british = words.with_places(spoken, [FOOTBALL], "en-GB")
    assert british["round"].local == ("football",)
    assert words.with_places(spoken, [FOOTBALL], "es") == spoken


def test_another_thing_of_that_very_name_is_called_otherwise_if_it_can_be() -> None:
    spoken = {"oval": Words("pigskin"), "round": Words("football", ("soccer ball",)), "game": Words("football")}
    found = words.with_places(spoken, [FOOTBALL], "en")
    assert found["round"].name == "soccer ball"
    assert found["game"].name == "football", "a thing must have a name"


def test_a_word_that_means_what_has_no_picture_is_said() -> None:
    with pytest.raises(TrainingError, match="'football' means oval in en"):
        words.with_places({"round": Words("ball")}, [FOOTBALL], "en")


@given(WORDS)
def test_all_is_every_word_and_short_is_never_empty(spoken: Words) -> None:
    assert set(spoken.short) <= set(spoken.all)
    assert spoken.short
    assert set(spoken.all) >= {spoken.name, *spoken.synonyms, *spoken.keywords, *spoken.local}
