"""Whom a word for people is drawn as: the skin tone and the gender of the real picture that a drawn one is nearest to.

Real pictures come in five skin tones and, for most words, as a woman, as a man and as neither. A drawn picture gets the
tone and gender of its nearest painting, by means over 4 x 4 pixels; how often that is right is measured on paintings
of real pictures that the comparison has not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from training.corpus.library import Library, Pixels
from training.corpus.paint import Painter
from training.evaluation.drawing import Hand, Wish
from training.evaluation.measures import Share, blocks, distances, share
from training.evaluation.questions import Asker, single
from training.run import Run

_MEN, _WOMEN = {"1f468", "1f466", "1f474", "2642"}, {"1f469", "1f467", "1f475", "2640"}
_PAINTINGS = 8  # of each variant, to compare with
SHOWN = 12  # pictures of each word on the sheet
WORDS = (  # person, man, woman, child, and work
    "1f9d1", "1f468", "1f469", "1f9d2", "1f9d1-200d-2695-fe0f", "1f46e", "1f9d1-200d-1f373", "1f9d1-200d-1f3eb",
    "1f9d1-200d-1f692", "1f9d1-200d-1f52c", "1f9d1-200d-1f33e", "1f9d1-200d-1f680",
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Whom a picture shows."""

    tone: str  # the code point of the skin tone
    gender: str  # "man", "woman" or "neither"


@dataclass(frozen=True)
class Spread:
    """What was drawn for one word, and what the rule would have drawn: shares by value.

    ``apart`` is half the sum of the differences (total variation), ``chance`` what 95 of 100 fair draws stay below.
    """

    drawn: dict[str, float]
    rule: dict[str, float]
    apart: float
    chance: float


@dataclass(frozen=True)
class PersonWord:
    """One word in one locale."""

    word: str
    locale: str
    n: int
    tones: Spread
    genders: Spread


def look_of(stem: str, tones: Sequence[str]) -> Look:
    """What a file name says: Unicode's skin tone modifier, and the man or woman in it."""
    parts = set(stem.split("-"))
    gender = "man" if parts & _MEN else "woman" if parts & _WOMEN else "neither"
    return Look(next((tone for tone in tones if tone in parts), "none"), gender)


class Observer:
    """Tells tone and gender of pictures of one thing."""

    def __init__(self, run: Run, library: Library, painter: Painter, asker: Asker, thing: str) -> None:
        self.thing, self.painter, self.asker = thing, painter, asker
        known = library.things[thing]
        self.rows = list(dict.fromkeys(known.pictures + known.bodies))
        self.looks = [look_of(library.stems[row], run.tones) for row in self.rows]
        self.templates = blocks(self._paintings(0, _PAINTINGS))

    def _paintings(self, first: int, count: int) -> Pixels:
        """``count`` paintings of every variant, variant by variant."""
        return np.stack(
            [
                self.painter.paint(single(self.thing, row), self.asker.paint_number(first + i))
                for row in self.rows
                for i in range(count)
            ]
        )

    def look(self, pictures: Pixels) -> list[Look]:
        """Of each picture, the nearest painting's."""
        found = distances(blocks(pictures), self.templates).argmin(axis=1)
        return [self.looks[int(i) // _PAINTINGS] for i in found]

    def accuracy(self) -> tuple[list[bool], list[bool]]:
        """Whether tone, and gender, of two fresh paintings of every variant are told right."""
        seen = self.look(self._paintings(_PAINTINGS, 2))
        true = [look for look in self.looks for _ in range(2)]
        return (
            [a.tone == b.tone for a, b in zip(seen, true, strict=True)],
            [a.gender == b.gender for a, b in zip(seen, true, strict=True)],
        )


def spread(drawn: Sequence[str], rule: Sequence[str]) -> Spread:
    """Compare what was drawn with what is equally often drawn by the rule."""
    values = sorted(set(rule))
    fair = np.array([rule.count(value) for value in values], np.float64) / len(rule)
    counts = Counter(drawn)
    ours = np.array([counts[value] for value in values], np.float64) / max(1, len(drawn))
    rng = np.random.default_rng(0)
    draws = rng.multinomial(max(1, len(drawn)), fair, 2000) / max(1, len(drawn))
    chance = float(np.percentile(0.5 * np.abs(draws - fair).sum(axis=1), 95))
    apart = float(0.5 * np.abs(ours - fair).sum())
    return Spread(_table(values, ours), _table(values, fair), apart, chance)


def _table(values: Sequence[str], shares: Iterable[float]) -> dict[str, float]:
    return {value: round(float(part), 3) for value, part in zip(values, shares, strict=True)}


@dataclass(frozen=True)
class People:
    """All words for people, how well the observer tells real pictures, and some pictures of each word."""

    words: list[PersonWord]
    tone_accuracy: Share
    gender_accuracy: Share
    pictures: list[Pixels]


def people(run: Run, asker: Asker, painter: Painter, hand: Hand, seeds: int) -> People:
    """Draw each word in the first locale of each language, ``seeds`` times, and look."""
    wanted = {person.id for person in run.people}
    words: list[PersonWord] = []
    tones: list[bool] = []
    genders: list[bool] = []
    shown: list[Pixels] = []
    for thing in [word for word in WORDS if word in wanted] or sorted(wanted):
        observer = Observer(run, asker.library, painter, asker, thing)
        right = observer.accuracy()
        tones += right[0]
        genders += right[1]
        for locale in first_locales(run):
            prompt = asker.wording.plain(single(thing, observer.rows[0]), locale)
            drawn = hand.draw([Wish(prompt, locale, 9_000 + seed) for seed in range(seeds)], prompt)
            words.append(_observed(observer, drawn, prompt, locale))
            shown.append(drawn[:SHOWN])
    return People(words, share(tones), share(genders), shown)


def _observed(observer: Observer, drawn: Pixels, prompt: str, locale: str) -> PersonWord:
    looks, rule = observer.look(drawn), observer.looks
    return PersonWord(
        prompt,
        locale,
        len(drawn),
        spread([look.tone for look in looks], [look.tone for look in rule]),
        spread([look.gender for look in looks], [look.gender for look in rule]),
    )


def first_locales(run: Run) -> list[str]:
    """The first locale of each language."""
    found: dict[str, str] = {}
    for name, locale in run.locales.items():
        found.setdefault(locale.language, name)
    return list(found.values())
