"""Captions come from data: locales, templates and colour words of the run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training import captions
from training.captions import Entry, Words
from training.data import Dataset
from training.run import CaptionSettings, LocaleSettings, Run

DOG = Entry(
    "1f436",
    {
        "en": Words("dog face", ("dog", "pet", "puppy"), ("brown",)),
        "es": Words("cara de perro", ("perro", "mascota"), ("marrón",)),
    },
)


def many(entry: Entry, run: Run, settings: CaptionSettings, count: int = 400) -> list[str]:
    rng = np.random.default_rng(5)
    return [captions.sample_caption(entry, run.locales, settings, rng) for _ in range(count)]


def test_every_way_and_every_locale_is_used(run: Run) -> None:
    made = set(many(DOG, run, run.captions))
    assert {"", "dog face", "a dog face", "cara de perro", "un cara de perro", "a puppy", "brown dog face"} <= made
    assert any(", " in caption for caption in made)


def test_nothing_but_names_when_everything_else_is_off(run: Run) -> None:
    made = set(many(DOG, run, CaptionSettings(0.0, 0.0, 0.0, 0.0)))
    assert made == {"dog face", "a dog face", "cara de perro", "un cara de perro"}


def test_the_empty_caption_is_as_frequent_as_asked(run: Run) -> None:
    made = many(DOG, run, replace(run.captions, dropped=0.25), 2000)
    assert 0.2 < made.count("") / len(made) < 0.3


def test_a_picture_without_keywords_or_colour_still_has_a_caption(run: Run) -> None:
    bare = Entry("x", {"en": Words("moon", ())})
    assert set(many(bare, run, replace(run.captions, dropped=0.0))) == {"moon", "a moon"}


def test_a_particular_locale_replaces_only_what_it_says() -> None:
    general = {"⚽": {"tts": ["soccer ball"], "default": ["ball", "soccer"]}, "🏈": {"tts": ["american football"]}}
    particular = {"⚽": {"tts": ["football"]}}
    merged = captions.merge_annotations([general, particular])
    assert merged == {"⚽": Words("football", ("ball", "soccer")), "🏈": Words("american football", ())}


def test_a_character_with_keywords_but_no_name_is_left_out() -> None:
    assert captions.merge_annotations([{"x": {"default": ["word"]}}]) == {}


def test_the_packed_form_comes_back_whole(dataset: Dataset) -> None:
    assert captions.from_json(captions.to_json(dataset.entries)) == dataset.entries


def test_the_tokenizer_learns_from_every_locale(dataset: Dataset) -> None:
    locales = {
        "en": LocaleSettings(("en",), ("a {}",), ("{colour} {name}",)),
        "es": LocaleSettings(("es",), ("un {}",)),
    }
    lines = captions.all_captions(dataset.entries, locales)
    assert {"a moon", "un luna", "red moon", "forma"} <= set(lines)
