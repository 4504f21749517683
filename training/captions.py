"""Words for pictures: read from CLDR annotations, sampled anew for every batch.

The packed form (``captions.json``) is one entry a picture, in the pictures' order::

    {"id": "1f436", "words": {"en": {"name": "dog face", "keywords": ["animal", "pet"], "colours": ["brown"]}}}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.run import CaptionSettings, LocaleSettings


@dataclass(frozen=True)
class Words:
    """What one locale says of one picture."""

    name: str
    keywords: tuple[str, ...]
    colours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One picture's id and its words by locale."""

    id: str
    words: dict[str, Words]


def merge_annotations(tables: Iterable[Mapping[str, Any]]) -> dict[str, Words]:
    """Merge CLDR annotation tables, general before particular (``en``, then ``en-001``), into words by character.

    A particular table replaces the name or the keywords that it gives and inherits the rest.
    """
    names: dict[str, str] = {}
    keywords: dict[str, tuple[str, ...]] = {}
    for table in tables:
        for character, entry in table.items():
            if entry.get("tts"):
                names[character] = str(entry["tts"][0])
            if entry.get("default"):
                keywords[character] = tuple(str(word) for word in entry["default"])
    return {character: Words(name, keywords.get(character, ())) for character, name in names.items()}


def to_json(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The packed form."""
    return [
        {
            "id": entry.id,
            "words": {
                locale: {"name": w.name, "keywords": list(w.keywords), "colours": list(w.colours)}
                for locale, w in entry.words.items()
            },
        }
        for entry in entries
    ]


def from_json(packed: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """Entries from the packed form."""
    return [
        Entry(
            entry["id"],
            {
                locale: Words(w["name"], tuple(w["keywords"]), tuple(w["colours"]))
                for locale, w in entry["words"].items()
            },
        )
        for entry in packed
    ]


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def sample_caption(
    entry: Entry,
    locales: Mapping[str, LocaleSettings],
    settings: CaptionSettings,
    rng: np.random.Generator,
) -> str:
    """One caption: some locale's name, coloured name, keyword or keywords, or now and then nothing.

    The empty caption teaches the unconditional score that classifier-free guidance needs (Ho and Salimans 2022,
    arXiv:2207.12598).
    """
    if rng.random() < settings.dropped:
        return ""
    locale = _pick(rng, [name for name in locales if name in entry.words])
    words, speech = entry.words[locale], locales[locale]
    way = float(rng.random())
    if way < settings.keywords and len(words.keywords) > 1:
        count = int(rng.integers(2, 4))
        chosen = rng.permutation(len(words.keywords))[:count]
        return ", ".join(words.keywords[int(i)] for i in chosen)
    way -= settings.keywords
    if 0 <= way < settings.keyword and words.keywords:
        return _pick(rng, speech.templates).format(_pick(rng, words.keywords))
    way -= settings.keyword
    if 0 <= way < settings.coloured and words.colours and speech.coloured:
        short = words.name if rng.random() < 0.5 or not words.keywords else _pick(rng, words.keywords)
        return _pick(rng, speech.coloured).format(colour=_pick(rng, words.colours), name=short)
    return _pick(rng, speech.templates).format(words.name)


def all_captions(entries: Iterable[Entry], locales: Mapping[str, LocaleSettings]) -> list[str]:
    """Every name in every template, every keyword and every coloured name: what the tokenizer learns from."""
    lines: list[str] = []
    for entry in entries:
        for locale, words in entry.words.items():
            speech = locales[locale]
            lines += [template.format(words.name) for template in speech.templates]
            lines += words.keywords
            for colour in words.colours:
                lines += [template.format(colour=colour, name=words.name) for template in speech.coloured]
    return lines
