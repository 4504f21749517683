"""What is asked: a sentence to draw, and the captions among which the judge must find what was meant.

Composed scenes are held out: their numbers lie behind those of the training set, their paintings too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.corpus.data import Dataset
from training.corpus.scenes import EXTRAS, PLACES, Director, Part, Scene, can_be_painted
from training.evaluation.twists import Twister, relations, swaps
from training.evaluation.wording import Wording
from training.run import Run

NAMED, COMPOSED = "named", "composed"
_UNSEEN = 50_000_000  # numbers of paintings from here on are used for questions alone


@dataclass(frozen=True)
class Question:
    """One picture's question. ``answers[right]`` is what was meant; ``kind`` says what it is about, for grouping."""

    scene: Scene
    locale: str
    prompt: str
    answers: tuple[str, ...]
    right: int
    kind: str
    new: bool = False  # whether its things never stood so to each other in training


class Asker:
    """Makes up the questions of one run; ``count`` is how many of each set."""

    def __init__(self, run: Run, dataset: Dataset, count: int) -> None:
        self.run, self.library, self.count = run, dataset.library, count
        self.wording = Wording(run, dataset.library)
        self.director = Director(run, dataset.library)
        self.twister = Twister(self.director)
        self.locales = list(run.locales)
        self.seen = {told for scene in dataset.scenes if (told := _told(scene))}
        self.rng = np.random.default_rng([run.seed, 19])

    def paint_number(self, index: int) -> int:
        """A number for ``Painter.paint`` that no training picture has."""
        return _UNSEEN + index

    def held_out(self, start: int = 0) -> Iterator[Scene]:
        """Scenes that were never painted for training."""
        return (self.director.scene(self.director.count + start + i) for i in itertools.count())

    def sets(self) -> dict[str, list[Question]]:
        """Every set by its name."""
        made = {f"{NAMED} {locale}": self._ranked(self.named(), locale, NAMED) for locale in self.locales}
        made |= {f"{COMPOSED} {locale}": self._ranked(self.composed(), locale, "") for locale in self.locales}
        made["synonyms"] = self.synonyms()
        made["relations"] = self.relations()
        made["places"] = self.places()
        made["counts"] = self.counts()
        made["colours"] = self.colours()
        made["worn"] = self.worn()
        return {name: questions for name, questions in made.items() if questions}

    def named(self) -> list[Scene]:
        """Single things spread over the library."""
        things = list(self.library.things.values())
        order = np.random.default_rng([self.run.seed, 23]).permutation(len(things))
        return self._distinct(single(things[int(i)].id, things[int(i)].pictures[0]) for i in order)

    def composed(self) -> list[Scene]:
        """Held-out scenes."""
        return self._distinct(itertools.islice(self.held_out(), 20 * self.count))

    def _distinct(self, scenes: Iterable[Scene]) -> list[Scene]:
        """The first ``count`` that no two locales' captions confuse."""
        taken: set[tuple[str, str]] = set()
        found: list[Scene] = []
        for scene in scenes:
            keys = {(locale, self.wording.answer(scene, locale)) for locale in self.locales}
            if keys.isdisjoint(taken):
                taken |= keys
                found.append(scene)
            if len(found) == self.count:
                break
        return found

    def _ranked(self, scenes: Sequence[Scene], locale: str, kind: str) -> list[Question]:
        """Each scene's caption among the captions of all."""
        answers = tuple(self.wording.answer(scene, locale) for scene in scenes)
        asked = [self.wording.plain(scene, locale) for scene in scenes]
        return [
            Question(scene, locale, asked[i], answers, i, kind or kind_of(scene), self._new(scene))
            for i, scene in enumerate(scenes)
        ]

    def _new(self, scene: Scene) -> bool:
        told = _told(scene)
        return told is not None and told not in self.seen

    def _among(self, scene: Scene, others: Sequence[Scene], turn: int, kind: str) -> Question:
        """A scene's caption among those of others like it; locales take turns."""
        locale = self.locales[turn % len(self.locales)]
        right = self.wording.answer(scene, locale)
        wrong = dict.fromkeys(self.wording.answer(other, locale) for other in others)
        answers = (right, *(line for line in wrong if line != right))
        return Question(scene, locale, self.wording.plain(scene, locale), answers, 0, kind, self._new(scene))

    def relations(self) -> list[Question]:
        """The same two things, standing otherwise or in each other's role."""
        scenes = (scene for scene in itertools.islice(self.held_out(100_000), 40 * self.count) if scene.relation)
        chosen = itertools.islice(scenes, self.count)
        return [
            self._among(scene, [*relations(scene), *swaps(scene)], i, scene.relation or "")
            for i, scene in enumerate(chosen)
        ]

    def places(self) -> list[Question]:
        """One thing in one place, among all places."""
        chosen = [(self._actor(), PLACES[i % len(PLACES)]) for i in range(self.count)]
        return [
            self._among(replace(scene, place=place), [replace(scene, place=name) for name in PLACES], i, place)
            for i, (scene, place) in enumerate(chosen)
        ]

    def counts(self) -> list[Question]:
        """One to four of a thing."""
        made = []
        for i in range(self.count):
            part = self._actor().parts[0]
            several = [Scene((replace(part, pictures=part.pictures * count),)) for count in range(1, 5)]
            made.append(self._among(several[i % 4], several, i, str(1 + i % 4)))
        return made

    def colours(self) -> list[Question]:
        """A thing in a colour that is not its own, among the others and without one."""
        things = [thing for thing in self.director.actors if can_be_painted(thing)]
        made = []
        for i in range(self.count if things else 0):
            thing = things[int(self.rng.integers(len(things)))]
            row = thing.bodies[0]
            free = [colour for colour in self.run.colours if colour != thing.colour]
            painted = [Scene((Part(thing.id, (row,), colour),)) for colour in free]
            chosen = painted[int(self.rng.integers(len(painted)))]
            made.append(self._among(chosen, [*painted, single(thing.id, row)], i, chosen.parts[0].colour or ""))
        return made

    def worn(self) -> list[Question]:
        """Each face with each thing to wear, among the others and without one."""
        all_of_them = [(face, extra) for face in self.director.faces for extra in EXTRAS]
        made = []
        for i, where in enumerate(self.rng.permutation(len(all_of_them))[: self.count]):
            face, extra = all_of_them[int(where)]
            dressed = {name: Scene((Part(face.id, face.pictures[:1], extra=name),)) for name in EXTRAS}
            others = [*dressed.values(), single(face.id, face.pictures[0])]
            made.append(self._among(dressed[extra], others, i, extra))
        return made

    def synonyms(self) -> list[Question]:
        """A dictionary's other word for a thing, among the names of the things that have one."""
        locale = self.locales[0]
        known = [thing for thing in self.library.things.values() if thing.words[locale].synonyms]
        chosen = self._distinct(single(known[int(i)].id, known[int(i)].pictures[0]) for i in self._order(len(known)))
        asked = []
        for question in self._ranked(chosen, locale, "synonym"):
            words = self.library.things[question.scene.parts[0].thing].words[locale]
            asked.append(replace(question, prompt=words.synonyms[0]))
        return asked

    def _order(self, count: int) -> Sequence[int]:
        return [int(i) for i in self.rng.permutation(count)]

    def _actor(self) -> Scene:
        actors = self.director.actors
        return single((thing := actors[int(self.rng.integers(len(actors)))]).id, thing.bodies[0])


def single(thing: str, row: int) -> Scene:
    """One thing on white."""
    return Scene((Part(thing, (row,)),))


def kind_of(scene: Scene) -> str:
    """What a composed scene is about most of all."""
    return scene.relation or ("count" if scene.parts[0].count > 1 else "place")


def _told(scene: Scene) -> tuple[str, str, str] | None:
    """Two things and how they stand, or None."""
    if scene.relation is None:
        return None
    return scene.parts[0].thing, scene.relation, scene.parts[1].thing
