"""How scenes are put into words for the judge: in every locale, without its tag, and without words that mean one thing
here and another there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from training.corpus import captions
from training.corpus.library import Library
from training.corpus.scenes import Scene
from training.corpus.words import PlaceWord, load_places
from training.run import CaptionSettings, Run

_QUIET = CaptionSettings(
    keyword=0.0, keywords=0.0, coloured=0.1, dropped=0.0, told=1.0, local=0.0, synonym=0.1, stranger=0.0
)


class Wording:
    """Sentences about one library's scenes. ``places`` are the words whose meaning differs by country."""

    def __init__(self, run: Run, library: Library, places: Sequence[PlaceWord] | None = None) -> None:
        self.run, self.library = run, library
        self.places = load_places() if places is None else list(places)
        self.locales = list(run.locales)
        self._quiet = dataclasses.replace(run, captions=_QUIET)
        self._double = {place.word for place in self.places if len(set(place.means.values())) > 1}
        self._clear = {thing: self._clear_locales(thing) for thing in library.things}

    def _clear_locales(self, thing: str) -> set[str]:
        words = self.library.things[thing].words
        return {locale for locale, said in words.items() if not self._double & {*said.short, said.name, *said.synonyms}}

    def clear(self, scene: Scene) -> list[str]:
        """The locales in whose words nothing of the scene could be taken for another thing; all where there is none."""
        found = [locale for locale in self.locales if all(locale in self._clear[part.thing] for part in scene.parts)]
        return found or self.locales

    def say(self, scene: Scene, locale: str, rng: np.random.Generator) -> str:
        """One of the sentences that the scene may be described by, in names and synonyms, without the locale's tag."""
        line = captions.sample(scene, self._quiet, self.library, rng, locale)
        return line.removeprefix(captions.tell(self.run.locales[locale], ""))

    def plain(self, scene: Scene, locale: str | None = None) -> str:
        """The one sentence by which it is asked for, by default in the first locale's words."""
        return captions.plain(scene, self.run, self.library, locale or self.locales[0])

    def answer(self, scene: Scene, locale: str) -> str:
        """The sentence by which the judge is asked about it: in the locale's words, or in others that are clear."""
        found = self.clear(scene)
        return self.plain(scene, locale if locale in found else found[0])

    def name(self, thing: str) -> str:
        """What the thing is called by a word that means nothing else anywhere, in the first locale that has one."""
        words = self.library.things[thing].words
        names = [name for locale in self.locales for name in (words[locale].name, *words[locale].others)]
        return next((name for name in names if name not in self._double), names[0])
