"""What a picture shows, before it is painted or told: things, how many, in which colour, where, and how they stand.

A scene is drawn at random from the run's seed and its number, and everything else (its picture, its sentences) follows
from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.corpus.library import Library, Thing
from training.run import Run, SceneSettings

RELATIONS = ("beside", "left", "on", "under", "over", "before")
PLACES = ("beach", "sea", "snow", "desert", "grass", "forest", "night", "space", "sunset", "city", "sky", "mountains")
EXTRAS = ("sunglasses", "hat", "crown")


@dataclass(frozen=True)
class Part:
    """Some of one thing: a row of ``Library.pictures`` for each of them."""

    thing: str
    pictures: tuple[int, ...]
    colour: str | None = None  # painted in it, where it is not its own
    extra: str | None = None  # worn

    @property
    def count(self) -> int:
        """How many."""
        return len(self.pictures)


@dataclass(frozen=True)
class Scene:
    """One or two parts. ``relation`` says how the first stands to the second."""

    parts: tuple[Part, ...]
    relation: str | None = None
    place: str | None = None
    backdrop: str | None = None  # the colour of a plain background; None is white

    @property
    def composed(self) -> bool:
        """Whether it shows more than one thing on white."""
        return len(self.parts) > 1 or self.parts[0].count > 1 or self.place is not None


def to_json(scene: Scene) -> dict[str, Any]:
    """The packed form, without what is not there."""
    packed = {key: value for key, value in asdict(scene).items() if value is not None}
    packed["parts"] = [{key: value for key, value in part.items() if value is not None} for part in packed["parts"]]
    return packed


def from_json(packed: Mapping[str, Any]) -> Scene:
    """A scene from the packed form."""
    parts = tuple(Part(p["thing"], tuple(p["pictures"]), p.get("colour"), p.get("extra")) for p in packed["parts"])
    return Scene(parts, packed.get("relation"), packed.get("place"), packed.get("backdrop"))


class Director:
    """Makes up scenes from a library's things and the run's settings."""

    def __init__(self, run: Run, library: Library) -> None:
        self.run, self.library = run, library
        settings: SceneSettings = run.scenes
        self.everything = [thing for thing in library.things.values() for _ in range(3 if thing.is_local else 1)]
        self.actors = library.named(settings.actors)
        self.supports = library.named(settings.supports)
        self.canopies = library.named(settings.canopies)
        self.faces = library.named(settings.faces)
        self.fliers = library.named(settings.fliers)
        self.colours = list(run.colours)

    @property
    def count(self) -> int:
        """Scenes in all: singles first, then composed ones."""
        return self._singles + self.run.scenes.composed

    @property
    def _singles(self) -> int:
        return len(self.everything) * self.run.scenes.singles

    def scene(self, index: int) -> Scene:
        """The scene of this number."""
        rng = np.random.default_rng([self.run.seed, 11, index])
        if index < self._singles:
            return self._single(self.everything[index % len(self.everything)], index // len(self.everything), rng)
        return self._composed(rng)

    def _single(self, thing: Thing, turn: int, rng: np.random.Generator) -> Scene:
        """One thing; every other turn as it is, otherwise also in other colours, on colours, or wearing something."""
        part = self._part(thing, rng, whole=False)
        if turn % 2 == 0:
            return Scene((part,))
        way = rng.random()
        if thing in self.faces and way < 0.7:
            return Scene((Part(part.thing, part.pictures, extra=pick(rng, EXTRAS)),))
        if can_be_painted(thing) and way < 0.6:
            return Scene((Part(part.thing, part.pictures, colour=self._other_colour(thing, rng)),))
        if way < 0.8:
            return Scene((part,), backdrop=self._other_colour(thing, rng))
        return Scene((part,))

    def _composed(self, rng: np.random.Generator) -> Scene:
        """Several of one thing, two things that stand to each other, or something somewhere."""
        place = pick(rng, PLACES) if rng.random() < 0.3 else None
        way = rng.random()
        if way < 0.2:
            return Scene((self._part(pick(rng, self.actors), rng, count=int(rng.integers(2, 5))),), place=place)
        if way < 0.36:
            part = self._part(pick(rng, self.actors), rng, count=1 if rng.random() < 0.7 else 2)
            return Scene((part,), place=pick(rng, PLACES))
        relation = pick(rng, RELATIONS)
        first, second = self._pair(relation, rng)
        count = int(rng.integers(2, 4)) if rng.random() < 0.25 else 1
        return Scene((self._part(first, rng, count=count), self._part(second, rng)), relation, place)

    def _pair(self, relation: str, rng: np.random.Generator) -> tuple[Thing, Thing]:
        """Two different things of which the relation can be said."""
        second = pick(rng, {"on": self.supports, "under": self.canopies}.get(relation, self.actors))
        first = second
        while first is second:
            first = pick(rng, self.fliers if relation == "over" else self.actors)
        return first, second

    def _part(self, thing: Thing, rng: np.random.Generator, count: int = 1, whole: bool = True) -> Part:
        rows = thing.bodies if whole else thing.pictures + thing.bodies
        colour = self._other_colour(thing, rng) if whole and can_be_painted(thing) and rng.random() < 0.3 else None
        return Part(thing.id, tuple(rows[int(i)] for i in rng.integers(len(rows), size=count)), colour)

    def _other_colour(self, thing: Thing, rng: np.random.Generator) -> str:
        return str(pick(rng, [colour for colour in self.colours if colour != thing.colour]))


def can_be_painted(thing: Thing) -> bool:
    """Whether most of it has one bright colour, which can be changed for another."""
    return thing.colour not in (None, "white", "grey", "black")


def pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    """One of them, all equally likely."""
    return choices[int(rng.integers(len(choices)))]
