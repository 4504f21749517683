"""How a language speaks of a scene: ``languages/<code>.toml`` as data, and the plurals that data cannot say."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from training.corpus import FOLDER
from training.errors import TrainingError
from training.run import build_settings, read_toml

_ENGLISH_PREPOSITION = re.compile(r" (?=(?:of|with|without|in|on|at|for|to) )")
_SPANISH_PREPOSITION = re.compile(r" (?=(?:de|del|con|en|al|a|para|sobre|sin) )")


@dataclass(frozen=True)
class Language:
    """Templates hold {a} and {b}, noun phrases with their articles; tables are keyed as scenes name things."""

    articles: tuple[str, ...]
    numbers: tuple[str, ...]  # two, three, four
    colour: str  # with {colour} and {noun}
    plural: str
    single: tuple[str, ...]
    irregular: dict[str, str]
    relations: dict[str, tuple[str, ...]]
    places: dict[str, tuple[str, ...]]
    extras: dict[str, tuple[str, ...]]
    backdrops: tuple[str, ...]  # with {a} and {colour}
    colours: dict[str, tuple[str, ...]]
    names: dict[str, tuple[str, ...]]
    feminine: str = "(?!)"  # a regular expression that the nouns of this gender match
    feminine_articles: tuple[str, ...] = ()

    def is_feminine(self, noun: str) -> bool:
        """Whether the noun has the gender of ``feminine_articles``; no language here has three."""
        return re.match(self.feminine, noun) is not None

    def articles_of(self, noun: str) -> tuple[str, ...]:
        """The articles that agree with it."""
        return self.feminine_articles if self.is_feminine(noun) else self.articles

    def colours_of(self, noun: str, colour: str) -> tuple[str, ...]:
        """The colour's words that agree with it: of rojo and roja, the one."""
        forms = self.colours[colour]
        other, own = ("o", "a") if self.is_feminine(noun) else ("a", "o")
        return tuple(f for f in forms if not (f.endswith(other) and f[:-1] + own in forms))

    def plural_of(self, noun: str) -> str:
        """Several of them."""
        return _PLURALS[self.plural](noun, self.irregular)


def english_plural(noun: str, irregular: dict[str, str]) -> str:
    """The last word before the first preposition in the plural."""
    head, *tail = _ENGLISH_PREPOSITION.split(noun, maxsplit=1)
    rest, _, last = head.rpartition(" ")
    if last in irregular:
        made = irregular[last]
    elif re.search(r"(s|x|z|ch|sh)$", last):
        made = last + "es"
    elif re.search(r"[^aeiou]y$", last):
        made = last[:-1] + "ies"
    else:
        made = last + "s"
    return " ".join([*([rest] if rest else []), made, *tail])


def spanish_plural(noun: str, irregular: dict[str, str]) -> str:
    """Every word up to the first preposition in the plural."""
    head, *tail = _SPANISH_PREPOSITION.split(noun, maxsplit=1)
    words = [irregular.get(word) or _spanish_word(word) for word in head.split(" ")]
    return " ".join([*words, *tail])


def _spanish_word(word: str) -> str:
    if re.search(r"[aeiouáéó]$", word):
        return word + "s"
    if word.endswith("z"):
        return word[:-1] + "ces"
    if stressed := re.search(r"([áéíóú])([ns])$", word):
        return word[: stressed.start()] + stressed[1].translate(_UNSTRESSED) + stressed[2] + "es"
    if re.search(r"[sx]$", word):
        return word
    return word + ("es" if re.search(r"[lrndjyíú]$", word) else "s")


_UNSTRESSED = str.maketrans("áéíóú", "aeiou")
_PLURALS = {"english": english_plural, "spanish": spanish_plural}


@functools.cache
def load(code: str) -> Language:
    """The language in ``languages/<code>.toml``, checked."""
    where = f"languages/{code}.toml"
    language: Language = build_settings(Language, read_toml(FOLDER / where), where)
    if language.plural not in _PLURALS:
        raise TrainingError(f"{where}: the plural must be one of {', '.join(_PLURALS)}.")
    return language
