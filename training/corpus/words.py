"""What each locale calls each thing: CLDR's names and keywords, everyday names, WordNet's synonyms, words of the place.

CLDR is inherited (en-GB from en-001 from en). A word of the place, such as "football", is taken from every other thing
of its locale, so that it means one thing there; it is only learned from captions that say where they are spoken.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from training.corpus import FOLDER
from training.errors import TrainingError
from training.run import build_settings, read_toml


@dataclass(frozen=True)
class Words:
    """What one locale calls one thing: CLDR's name, what people say, a dictionary's synonyms, and what belongs to it.

    ``local`` are words that mean this here and something else, or nothing, in another place.
    """

    name: str
    others: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    local: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every one of them."""
        return (self.name, *self.others, *self.synonyms, *self.keywords, *self.local)

    @property
    def short(self) -> tuple[str, ...]:
        """What one would say in a sentence: everyday names, or CLDR's."""
        return self.others or (self.name,)


@dataclass(frozen=True)
class PlaceWord:
    """A word and the thing that it means, by locale."""

    word: str
    means: dict[str, str]


def load_places(path: Path = FOLDER / "places.toml") -> list[PlaceWord]:
    """The words of the place. Raises `TrainingError`."""
    return [build_settings(PlaceWord, row, "places.toml") for row in read_toml(path).get("word", [])]


def to_json(words: Mapping[str, Words]) -> dict[str, Any]:
    """The packed form of one thing's words."""
    return {locale: asdict(spoken) for locale, spoken in words.items()}


def from_json(packed: Mapping[str, Any]) -> dict[str, Words]:
    """One thing's words from the packed form."""
    return {
        locale: Words(w["name"], *(tuple(w[kind]) for kind in ("others", "synonyms", "keywords", "local")))
        for locale, w in packed.items()
    }


def annotation_tables(archives: Sequence[Path], locale: str) -> Iterator[Mapping[str, Any]]:
    """One locale's annotation table of each CLDR archive; an archive without the locale gives none."""
    for path in archives:
        with tarfile.open(path) as archive:
            for kind in ("annotations", "annotationsDerived"):
                try:
                    member = archive.extractfile(f"package/{kind}/{locale}/annotations.json")
                except KeyError:
                    continue
                if member is not None:
                    yield json.load(member)[kind]["annotations"]


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
    return {character: Words(name, keywords=keywords.get(character, ())) for character, name in names.items()}


def cldr(archives: Sequence[Path], files: Sequence[str], locale: str) -> dict[str, Words]:
    """A locale's words by character. Raises `TrainingError` when CLDR does not know it."""
    tables = [table for name in files for table in annotation_tables(archives, name)]
    if not tables:
        raise TrainingError(f"The CLDR packages have no annotations for the locale {locale!r}.")
    return merge_annotations(tables)


def with_everyday(words: dict[str, Words], names: Mapping[str, Sequence[str]]) -> dict[str, Words]:
    """Add what people say in everyday life, by thing."""
    return {
        thing: replace(spoken, others=_distinct(spoken.others, names.get(thing, ()))) for thing, spoken in words.items()
    }


def with_synonyms(words: dict[str, Words], synonyms: Mapping[str, Sequence[str]]) -> dict[str, Words]:
    """Add a dictionary's synonyms of a thing's first everyday name, or of its name, that no other thing is called."""
    taken = {name for spoken in words.values() for name in (spoken.name, *spoken.others)}
    found: dict[str, Words] = {}
    for thing, spoken in words.items():
        fresh = tuple(word for word in synonyms.get(spoken.short[0], ()) if word not in taken)
        found[thing] = replace(spoken, synonyms=fresh)
    return found


def with_places(words: dict[str, Words], places: Sequence[PlaceWord], locale: str) -> dict[str, Words]:
    """Give the words of the place to the one thing that they mean in ``locale`` and take them from the others."""
    result = dict(words)
    for place in places:
        meant = place.means.get(locale)
        if meant is None:
            continue
        if meant not in result:
            raise TrainingError(
                f"The word of the place {place.word!r} means {meant} in {locale}, which has no picture."
            )
        result = {thing: _without(spoken, place.word) for thing, spoken in result.items()}
        result[meant] = replace(result[meant], local=(*result[meant].local, place.word))
    return result


def _without(spoken: Words, word: str) -> Words:
    """The words less one; a name that is the word itself gives way to an everyday one, or stays if there is none."""
    others = tuple(w for w in spoken.others if w != word)
    return replace(
        spoken,
        name=others[0] if spoken.name == word and others else spoken.name,
        others=others,
        synonyms=tuple(w for w in spoken.synonyms if w != word),
        keywords=tuple(w for w in spoken.keywords if w != word),
    )


def _distinct(first: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *more)))
