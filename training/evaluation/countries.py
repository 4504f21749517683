"""Words whose meaning differs by country: what is drawn for each where it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.corpus.library import Pixels
from training.corpus.paint import Painter
from training.evaluation.drawing import Hand, Wish
from training.evaluation.judge import Judge
from training.evaluation.measures import Share, share
from training.evaluation.questions import Asker, single

SEEDS = 3


@dataclass(frozen=True)
class Word:
    """A word said in a locale, and the thing that it means there; None where the table gives it no meaning."""

    word: str
    locale: str
    thing: str | None
    meant: str | None  # the thing's own name, which is no word of a place


@dataclass(frozen=True)
class Seen:
    """What the judge took each of a word's pictures for: one of all the meanings of such words."""

    word: Word
    names: tuple[str, ...]

    @property
    def hits(self) -> int:
        """How many of them show what is meant."""
        return sum(name == self.word.meant for name in self.names)

    @property
    def right(self) -> bool:
        """Whether most of them do."""
        return 2 * self.hits > len(self.names)


class Countries:
    """The words of one run, in every locale of their languages."""

    def __init__(self, asker: Asker, judge: Judge) -> None:
        self.asker = asker
        things = asker.library.things
        places = asker.wording.places
        meant = dict.fromkeys(thing for place in places for thing in place.means.values() if thing in things)
        self.names = {thing: asker.wording.name(thing) for thing in meant}
        self.judge, self.choices = judge, list(dict.fromkeys(self.names.values()))
        spoken = {name: locale.language for name, locale in asker.run.locales.items()}
        self.words = [
            Word(place.word, locale, place.means.get(locale), self.names.get(place.means.get(locale, "")))
            for place in places
            for locale in spoken
            if spoken[locale] in {spoken[other] for other in place.means if other in spoken}
        ]

    @property
    def meant(self) -> list[Word]:
        """The words where they mean something."""
        return [word for word in self.words if word.meant is not None]

    def draw(self, hand: Hand, words: Sequence[Word]) -> Pixels:
        """Three pictures of each word, word by word."""
        wishes = [Wish(word.word, word.locale, 500 + seed) for word in words for seed in range(SEEDS)]
        return hand.draw(wishes, "words of places")

    def real(self, painter: Painter, words: Sequence[Word]) -> Pixels:
        """Three paintings of what each word means."""
        scenes = [single(word.thing, self.asker.library.things[word.thing].pictures[0]) for word in words if word.thing]
        return np.stack(
            [
                painter.paint(scene, self.asker.paint_number(700_000 + SEEDS * i + turn))
                for i, scene in enumerate(scenes)
                for turn in range(SEEDS)
            ]
        )

    def look(self, words: Sequence[Word], pictures: Pixels) -> list[Seen]:
        """What the judge takes the pictures for."""
        best = (self.judge.look(pictures) @ self.judge.read(self.choices).T).argmax(axis=1)
        return [
            Seen(word, tuple(self.choices[int(k)] for k in best[SEEDS * i : SEEDS * (i + 1)]))
            for i, word in enumerate(words)
        ]


def meanings_right(seen: Sequence[Seen]) -> Share:
    """The share of meanings whose pictures mostly show them: each word in each locale where it means something."""
    return share(one.right for one in seen if one.word.meant is not None)


def both_right(seen: Sequence[Seen]) -> Share:
    """The share of words with two meanings of which every one is right."""
    return share(all(one.right for one in group) for group in _by_word(seen) if _two(group))


def in_one_place(seen: Sequence[Seen]) -> int:
    """How many of the meanings are of words that mean one thing, and therefore tell no place from another."""
    return sum(len(group) for group in _by_word(seen) if not _two(group))


def _by_word(seen: Sequence[Seen]) -> list[list[Seen]]:
    """What was seen of each word where it means something."""
    groups: dict[str, list[Seen]] = {}
    for one in seen:
        if one.word.meant is not None:
            groups.setdefault(one.word.word, []).append(one)
    return list(groups.values())


def _two(group: Sequence[Seen]) -> bool:
    return len({one.word.meant for one in group}) > 1
