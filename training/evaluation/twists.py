"""Scenes that are nearly another and are not it: what a judge must tell apart to see more than the things themselves.

A twist is false of the picture that it was made from, so it leaves alone what may be true of both: "beside" and "left
of", "on" and "over" (one word in Spanish), the night and space, the beach and the sea, people and "a person".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.corpus.library import Thing
from training.corpus.scenes import EXTRAS, PLACES, RELATIONS, Director, Part, Scene, can_be_painted, pick

_ALIKE = [{"beside", "left"}, {"on", "over"}, {"night", "space"}, {"beach", "sea"}]
_MOST = 4


class Twister:
    """Makes twists of one run's scenes."""

    def __init__(self, director: Director) -> None:
        self.director = director
        self.things = director.library.things
        self.people = {person.id for person in director.run.people}
        self.faces = {thing.id for thing in director.faces}
        self._called = {thing.id: _names(thing) for thing in self.things.values()}

    def twist(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """One twist of a kind chosen at random, and of that kind one chosen at random."""
        kinds = (relations, places, swaps, self.counts, self.colours, self.extras, self.backdrops)
        found = [made for made in (kind(scene) for kind in kinds) if made]
        if not found or rng.random() < 1 / (1 + len(found)):
            return self.other_thing(scene, rng)
        chosen: Scene = pick(rng, pick(rng, found))
        return chosen

    def other_thing(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Another thing in the place of one of the scene's; where there is no other, the scene with two more of it."""
        where = int(rng.integers(len(scene.parts)))
        part = scene.parts[where]
        others = [thing for thing in self.director.actors if not self._same(thing, scene)]
        if not others:
            return _with(scene, where, replace(part, pictures=part.pictures[:1] * (part.count + 2)))
        thing = pick(rng, others)
        colour = part.colour if can_be_painted(thing) and part.colour != thing.colour else None
        return _with(scene, where, Part(thing.id, thing.bodies[:1] * part.count, colour))

    def _same(self, thing: Thing, scene: Scene) -> bool:
        """Whether a thing of the scene may be called as this one is."""
        shown = [part.thing for part in scene.parts]
        if thing.id in self.people and any(other in self.people for other in shown):
            return True
        return any(not self._called[thing.id].isdisjoint(self._called[other]) for other in shown)

    def counts(self, scene: Scene) -> list[Scene]:
        """Every other number of the first part, up to four."""
        part = scene.parts[0]
        return [
            _with(scene, 0, replace(part, pictures=part.pictures[:1] * count, extra=None))
            for count in range(1, _MOST + 1)
            if count != part.count and part.extra is None
        ]

    def colours(self, scene: Scene) -> list[Scene]:
        """Every other colour of what can be painted, also of what was not."""
        return [
            _with(scene, where, replace(part, colour=colour))
            for where, part in enumerate(scene.parts)
            if can_be_painted(self.things[part.thing]) and part.extra is None
            for colour in self.director.colours
            if colour not in (part.colour, self.things[part.thing].colour)
        ]

    def extras(self, scene: Scene) -> list[Scene]:
        """Other things worn, by a face that stands alone."""
        part = scene.parts[0]
        if scene.composed or part.thing not in self.faces:
            return []
        return [_with(scene, 0, replace(part, extra=extra)) for extra in EXTRAS if extra != part.extra]

    def backdrops(self, scene: Scene) -> list[Scene]:
        """Backgrounds of another colour."""
        if scene.backdrop is None:
            return []
        return [replace(scene, backdrop=colour) for colour in self.director.colours if colour != scene.backdrop]


def _names(thing: Thing) -> frozenset[str]:
    """What it is called anywhere, but for keywords."""
    said = thing.words.values()
    return frozenset(name for words in said for name in (words.name, *words.others, *words.synonyms, *words.local))


def relations(scene: Scene) -> list[Scene]:
    """The same things, standing otherwise."""
    if scene.relation is None:
        return []
    return [replace(scene, relation=name) for name in RELATIONS if _differ(name, scene.relation)]


def places(scene: Scene) -> list[Scene]:
    """The same things somewhere else."""
    if scene.backdrop is not None or any(part.extra for part in scene.parts):
        return []
    return [replace(scene, place=name) for name in PLACES if _differ(name, scene.place)]


def swaps(scene: Scene) -> list[Scene]:
    """The two parts in each other's role; what is beside stays beside."""
    if scene.relation is None or scene.relation == "beside":
        return []
    return [replace(scene, parts=scene.parts[::-1])]


def _differ(name: str, other: str | None) -> bool:
    return name != other and {name, other} not in _ALIKE


def _with(scene: Scene, where: int, part: Part) -> Scene:
    parts = list(scene.parts)
    parts[where] = part
    return replace(scene, parts=tuple(parts))
