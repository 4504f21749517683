"""What cannot be drawn, said in words, as far as an evaluation shows it."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation.examine import REAL, Outcome
from training.evaluation.questions import NAMED
from training.evaluation.results import Results

_ALWAYS = (
    "Nothing but the world of the emoji: no photograph, no writing, no real person, no more than two kinds of things, "
    "no more than four of one. A word that it does not know gives some emoji, which says nothing about the word."
)
_SHOWN = 12
_WEAK = 0.5


def limits(results: Results) -> str:
    """Names, relations, counts, places, colours and words that fail, each in a sentence."""
    own = results.columns[1]
    lines = [_ALWAYS, names(results.outcomes, own)]
    for key, what in (
        ("relations", "How things stand"),
        ("counts", "Numbers"),
        ("places", "Places"),
        ("colours", "Colours"),
        ("worn", "What is worn"),
    ):
        if key in results.outcomes:
            lines.append(ranked(what, results.outcomes[key], own))
    wrong = [f"{one.word.word} ({one.word.locale})" for one in results.words if one.word.meant and not one.right]
    lines.append(f"Words of places that draw something else: {listed(wrong)}.")
    return "\n".join(f"* {line}" for line in lines)


def names(outcomes: dict[str, Outcome], own: str) -> str:
    """The names whose pictures rank lowest over all locales, where the judge knows the real picture."""
    places: dict[str, list[int]] = {}
    prompts: dict[str, str] = {}
    for key, outcome in outcomes.items():
        if not key.startswith(NAMED):
            continue
        for question, place, real in zip(outcome.questions, outcome.ranks[own], outcome.ranks[REAL], strict=True):
            thing = question.scene.parts[0].thing
            prompts.setdefault(thing, question.prompt)
            if real == 0:
                places.setdefault(thing, []).append(place)
    missed = {thing: found for thing, found in places.items() if sum(place == 0 for place in found) * 2 <= len(found)}
    order = sorted(missed, key=lambda thing: -sum(missed[thing]) / len(missed[thing]))
    return (
        f"Names that mostly draw something else, though the judge knows the real picture ({len(missed)} of "
        f"{len(places)}), the worst first: {listed([prompts[thing] for thing in order[:_SHOWN]])}."
    )


def ranked(what: str, outcome: Outcome, own: str) -> str:
    """Each kind's share, the weakest first, with what real pictures reach."""
    kinds = outcome.kinds()
    order = sorted(kinds, key=lambda name: kinds[name].first(own).value)
    found = [(name, kinds[name].first(own), kinds[name].first(REAL)) for name in order]
    shares = [f"{name} {ours.value:.2f} (real {real.value:.2f}, n = {ours.n})" for name, ours, real in found]
    weak = [name for name, ours, real in found if ours.value < _WEAK <= real.value]
    blind = [name for name, _, real in found if real.value < _WEAK]
    verdict = f"mostly wrong are {listed(weak)}" if weak else "none is mostly wrong"
    if blind:
        verdict += f" (the judge cannot tell {listed(blind)} on real pictures either)"
    return f"{what}: {verdict}. {', '.join(shares)}."


def listed(items: Sequence[str]) -> str:
    """Items in a sentence."""
    return ", ".join(items) if items else "none"
