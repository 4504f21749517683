"""From a scene to a sentence, anew for every batch: in some locale's words, long or short, or now and then nothing.

Most sentences say where they are spoken (``en-gb: a football``), as the box will say for its users; the others teach
what a sentence means that does not say it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from training.corpus import language
from training.corpus.language import Language
from training.corpus.library import Library, Thing
from training.corpus.scenes import Part, Scene, pick
from training.corpus.words import Words
from training.run import LocaleSettings, Run

_VOWEL = re.compile(r"(?!uni|eu|ewe|one\b|ufo|ukulele)[aeiou]|hour", re.IGNORECASE)  # as it is spoken, not written


def sample(scene: Scene, run: Run, library: Library, rng: np.random.Generator, locale: str | None = None) -> str:
    """One caption of the scene.

    The empty caption teaches the unconditional score that classifier-free guidance needs (Ho and Salimans 2022,
    arXiv:2207.12598). A word that means nothing here, on any picture, teaches that an unknown word still gives one.
    """
    settings = run.captions
    if locale is None and rng.random() < settings.dropped:
        return ""
    chosen = locale or _locale(scene, run, library, rng)
    told = locale is not None or rng.random() < settings.told
    if not scene.composed and library.strangers and locale is None and rng.random() < settings.stranger:
        line = str(pick(rng, library.strangers))
    else:
        line = _Speaker(run, library, chosen, told, rng).scene(scene)
    return tell(run.locales[chosen], line) if told else line


def _locale(scene: Scene, run: Run, library: Library, rng: np.random.Generator) -> str:
    """Any locale; more often one that has a word of its own for what is shown."""
    words = library.things[scene.parts[0].thing].words
    own = [locale for locale in run.locales if words[locale].local]
    return str(pick(rng, own if own and rng.random() < 0.6 else list(run.locales)))


def plain(scene: Scene, run: Run, library: Library, locale: str) -> str:
    """The one sentence by which a scene is asked for and judged: first names, first templates, no locale said."""
    return _Speaker(run, library, locale, told=True, rng=None).scene(scene)


def tell(locale: LocaleSettings, line: str) -> str:
    """The sentence with the locale in front of it, as the model is taught it."""
    return f"{locale.tag}: {line}"


class _Speaker:
    """Puts a scene into words; without a generator always the first choice."""

    def __init__(self, run: Run, library: Library, locale: str, told: bool, rng: np.random.Generator | None) -> None:
        self.run, self.library, self.locale, self.told, self.rng = run, library, locale, told, rng
        self.language: Language = language.load(run.locales[locale].language)

    def scene(self, scene: Scene) -> str:
        """The whole sentence."""
        first = scene.parts[0]
        if len(scene.parts) == 2:
            template = self._pick(self.language.relations[scene.relation or "beside"])
            line = template.format(a=self.part(first), b=self.part(scene.parts[1]))
        elif scene.composed:
            line = self.part(first)
        else:
            line = self._single(scene, first)
        if scene.place is not None:
            line = self._pick(self.language.places[scene.place]).format(a=line)
        if scene.backdrop is not None:
            colour = self._pick(self.language.colours[scene.backdrop])
            line = self._pick(self.language.backdrops).format(a=line, colour=colour)
        return line

    def part(self, part: Part) -> str:
        """A noun phrase with its article or number."""
        noun = self._short(self.library.things[part.thing])
        if part.count == 1:
            return self._dressed(self._article(self._coloured(noun, part.colour)), part)
        many = self.language.plural_of(self._coloured(noun, part.colour))
        number = self.language.numbers[part.count - 2]
        if self.rng is not None and self.rng.random() < 0.15:
            number = str(part.count)
        return f"{number} {many}"

    def _single(self, scene: Scene, part: Part) -> str:
        """One thing: its name, a synonym, a keyword or several, or its own colour with it."""
        thing = self.library.things[part.thing]
        words, settings = thing.words[self.locale], self.run.captions
        way = 1.0 if self.rng is None or part.colour or part.extra or scene.backdrop else float(self.rng.random())
        if self.rng is not None and way < settings.keywords and len(words.keywords) > 1:
            chosen = self.rng.permutation(len(words.keywords))[: int(self.rng.integers(2, 4))]
            return ", ".join(words.keywords[int(i)] for i in chosen)
        way -= settings.keywords
        noun = self._name(words)
        if 0 <= way < settings.keyword and words.keywords:
            noun = self._pick(words.keywords)
        elif 0 <= way - settings.keyword < settings.coloured and thing.colour:
            noun = self._coloured(noun, thing.colour)
        elif part.colour:
            noun = self._coloured(self._short(thing), part.colour)
        phrase = self._dressed(self._article(noun), part)
        return self._pick(self.language.single).format(a=phrase)

    def _name(self, words: Words) -> str:
        """CLDR's name or another."""
        rare = self._rare(words, self.run.captions.synonym)
        if rare or self.rng is None:
            return rare or words.short[0]
        return words.name if not words.others or self.rng.random() < 0.5 else self._pick(words.others)

    def _short(self, thing: Thing) -> str:
        """What one says in passing."""
        words = thing.words[self.locale]
        return self._rare(words, 0.5 * self.run.captions.synonym) or self._pick(words.short)

    def _rare(self, words: Words, synonym: float) -> str | None:
        """Now and then a word of the place, where the place is told, or a dictionary's synonym."""
        if self.rng is None:
            return None
        if words.local and self.told and self.rng.random() < self.run.captions.local:
            return self._pick(words.local)
        return self._pick(words.synonyms) if words.synonyms and self.rng.random() < synonym else None

    def _coloured(self, noun: str, colour: str | None) -> str:
        if colour is None:
            return noun
        return self.language.colour.format(colour=self._pick(self.language.colours_of(noun, colour)), noun=noun)

    def _article(self, noun: str) -> str:
        article = self._pick(self.language.articles_of(noun))
        if article == "a" and _VOWEL.match(noun):
            article = "an"
        return f"{article} {noun}".strip()

    def _dressed(self, phrase: str, part: Part) -> str:
        return phrase if part.extra is None else self._pick(self.language.extras[part.extra]).format(a=phrase)

    def _pick(self, choices: Sequence[str]) -> str:
        return choices[0] if self.rng is None else str(pick(self.rng, choices))


def corpus(scenes: Iterable[Scene], run: Run, library: Library) -> list[str]:
    """What the tokenizer learns from: sampled captions, and every word of every thing."""
    rng = np.random.default_rng([run.seed, 17])
    lines = [sample(scene, run, library, rng) for scene in scenes]
    for thing in library.things.values():
        for words in thing.words.values():
            lines += words.all
    return [*lines, *library.strangers]
