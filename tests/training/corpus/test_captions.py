"""Captions say what a scene shows, in the words of some place, and the place's own words only when it is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.stage_hands import Scenes
from training.corpus import captions
from training.corpus.data import Dataset
from training.corpus.library import Library
from training.corpus.scenes import Part, Scene
from training.run import CaptionSettings, Run

ONLY_NAMES = CaptionSettings(
    keyword=0.0, keywords=0.0, coloured=0.0, dropped=0.0, told=1.0, local=0.0, synonym=0.0, stranger=0.0
)


def with_captions(run: Run, **changes: float) -> Run:
    return replace(run, captions=replace(run.captions, **changes))  # type: ignore[arg-type]


def many(scene: Scene, run: Run, library: Library, count: int = 400, locale: str | None = None) -> list[str]:
    rng = np.random.default_rng(5)
    return [captions.sample(scene, run, library, rng, locale) for _ in range(count)]


def alone(library: Library, thing: str) -> Scene:
    return Scene((Part(thing, library.things[thing].pictures[:1]),))


def of_all(dataset: Dataset, run: Run, seed: int = 3) -> Iterator[str]:
    """Some captions of every scene, as training draws them."""
    rng = np.random.default_rng(seed)
    for scene in dataset.scenes:
        for _ in range(5):
            yield captions.sample(scene, run, dataset.library, rng)


def well_formed(line: str) -> bool:
    return bool(line) and line == line.strip() and "  " not in line and not set("{}") & set(line)


def tag_of(line: str, run: Run) -> str | None:
    """The locale that the caption tells, if it tells one."""
    return next((name for name, locale in run.locales.items() if line.startswith(f"{locale.tag}: ")), None)


@given(st.data(), st.integers(0, 2**31))
def test_a_caption_of_anything_in_any_locale_is_a_sentence_that_tells_it(
    run: Run, library: Library, any_scene: Scenes, data: st.DataObject, seed: int
) -> None:
    scene = data.draw(any_scene)
    for name in run.locales:
        line = captions.sample(scene, run, library, np.random.default_rng(seed), name)
        assert well_formed(line), line
        assert tag_of(line, run) == name
        assert line == captions.sample(scene, run, library, np.random.default_rng(seed), name)


@given(st.data())
def test_the_plain_caption_is_one_sentence_and_always_the_same(
    run: Run, library: Library, any_scene: Scenes, data: st.DataObject
) -> None:
    scene = data.draw(any_scene)
    for name in run.locales:
        line = captions.plain(scene, run, library, name)
        assert well_formed(line), line
        assert tag_of(line, run) is None
        assert line == captions.plain(scene, run, library, name)


def test_captions_of_every_scene_are_sentences_or_nothing(dataset: Dataset, run: Run) -> None:
    made = list(of_all(dataset, run))
    assert all(line == "" or well_formed(line) for line in made)
    assert 0.06 < made.count("") / len(made) < 0.14
    assert all(of_all(dataset, with_captions(run, dropped=0.0)))


@pytest.mark.parametrize("told", [0.0, 1.0])
def test_the_place_is_told_as_often_as_asked(dataset: Dataset, run: Run, told: float) -> None:
    made = [tag_of(line, run) for line in of_all(dataset, with_captions(run, dropped=0.0, told=told))]
    assert set(made) == (set(run.locales) if told else {None})


def said_elsewise(library: Library, locale: str) -> set[str]:
    """All that things are called there otherwise than by a word of the place."""
    spoken = [replace(thing.words[locale], local=()) for thing in library.things.values()]
    return {word for words in spoken for word in words.all}


def test_words_of_the_place_are_said_only_where_they_belong_and_where_it_is_told(dataset: Dataset, run: Run) -> None:
    library = dataset.library
    local = {name: {w for t in library.things.values() for w in t.words[name].local} for name in run.locales}
    common = {word for name in run.locales for word in said_elsewise(library, name)}
    ours = set().union(*local.values()) - common
    longer = re.compile(
        "|".join(phrase for phrase in common if any(re.search(rf"\b{word}\b", phrase) for word in ours))
    )
    loud = with_captions(run, dropped=0.0, told=0.5, local=1.0, stranger=0.0)
    heard = dict.fromkeys(run.locales, 0)
    for line in of_all(dataset, loud):
        here = tag_of(line, run)
        for word in ours:
            if re.search(rf"\b{word}\b", longer.sub("", line)):
                assert here is not None, f"{line!r} does not tell its place"
                assert word in local[here], f"{line!r} uses a word of elsewhere"
                heard[here] += 1
    assert all(heard.values())


def test_a_word_means_one_thing_here_and_another_there(run: Run, library: Library) -> None:
    loud = with_captions(run, local=1.0, keyword=0.0, keywords=0.0, coloured=0.0)
    for locale, thing, other in (("en", "1f3c8", "26bd"), ("en-GB", "26bd", "1f3c8")):
        assert all("football" in line for line in many(alone(library, thing), loud, library, 40, locale))
        elsewhere = many(alone(library, other), with_captions(loud, keyword=0.5), library, 200, locale)
        assert not any(re.search(r"(?<!american )football", line) for line in elsewhere)


def test_every_way_and_every_locale_is_used(run: Run, library: Library) -> None:
    made = set(many(alone(library, "1f697"), with_captions(run, told=0.5), library, 3000))
    assert {"", "car", "a car", "an automobile", "en-gb: the motorcar", "es-es: un coche", "es-419: el carro"} <= made
    assert {"en-us: a shape", "es-es: una forma"} <= made
    assert any("picture of" in line for line in made)
    assert any("dibujo de" in line for line in made)
    assert any(", automobile kind" in line for line in made)
    assert any(line.endswith(stranger) for line in made for stranger in library.strangers)


def test_nothing_but_names_when_everything_else_is_off(run: Run, library: Library) -> None:
    made = many(alone(library, "1f34e"), replace(run, captions=ONLY_NAMES), library, locale="en")
    assert {re.sub(r"^en-us: (picture of )?((a|an|the) )?|, emoji$", "", line) for line in made} == {
        "red apple",
        "apple",
    }


def test_a_thing_is_also_called_by_its_own_colour(run: Run, library: Library) -> None:
    made = many(alone(library, "1f41d"), with_captions(run, coloured=1.0, keyword=0.0, keywords=0.0), library, 60, "es")
    assert all(re.search("amarill[oa]", line) for line in made)


def scene_of(library: Library, *things: str, count: int = 1, **fields: str) -> Scene:
    first, *rest = (library.things[thing] for thing in things)
    parts = (Part(first.id, first.bodies[:1] * count), *(Part(thing.id, thing.bodies[:1]) for thing in rest))
    return Scene(parts, **fields)


@pytest.mark.parametrize(
    ("locale", "things", "fields", "line"),
    [
        ("en", ["1f34e"], {}, "an apple"),
        ("en", ["1f9d1"], {"count": 2, "place": "mountains"}, "two people in the mountains"),
        ("es", ["1f9d1"], {"count": 2, "place": "mountains"}, "dos personas en las montañas"),
        ("en-GB", ["26bd", "1f697"], {"relation": "on"}, "a football on a car"),
        (
            "en",
            ["26bd", "1f697"],
            {"relation": "left", "place": "beach"},
            "a soccer ball to the left of a car on the beach",
        ),
        ("es-419", ["1f415", "2601-fe0f"], {"relation": "under", "count": 3}, "tres perros bajo una nube"),
        ("en", ["1f415"], {"backdrop": "blue"}, "a dog on a blue background"),
    ],
)
def test_the_plain_caption_says_all_that_is_shown(
    run: Run, library: Library, locale: str, things: list[str], fields: dict[str, str], line: str
) -> None:
    assert captions.plain(scene_of(library, *things, **fields), run, library, locale) == line  # type: ignore[arg-type]


def test_the_colour_goes_with_its_noun_into_the_plural(run: Run, library: Library) -> None:
    scene = Scene((Part("1f697", library.things["1f697"].bodies * 3, colour="red"),))
    assert captions.plain(scene, run, library, "en") == "three red cars"
    assert captions.plain(scene, run, library, "es") == "tres coches rojos"


@pytest.mark.parametrize(
    ("noun", "phrase"),
    [("apple", "an apple"), ("dog", "a dog"), ("unicorn", "a unicorn"), ("UFO", "a UFO"), ("umbrella", "an umbrella")],
)
def test_the_article_goes_by_how_a_word_is_spoken(run: Run, library: Library, noun: str, phrase: str) -> None:
    apple = library.things["1f34e"]
    renamed = replace(apple, words={"en": replace(apple.words["en"], name=noun, others=())})
    world = replace(library, things={"1f34e": renamed})
    assert captions.plain(alone(world, "1f34e"), run, world, "en") == phrase


def test_the_corpus_holds_every_word_and_every_stranger(dataset: Dataset, run: Run) -> None:
    lines = set(captions.corpus(dataset.scenes, run, dataset.library))
    assert {"red apple", "manzana roja", "carro", "motorcar", "forma", *dataset.library.strangers} <= lines
    assert captions.corpus(dataset.scenes[:20], run, dataset.library) == captions.corpus(
        dataset.scenes[:20], run, dataset.library
    )
