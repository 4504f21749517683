"""The report in plain words, from an evaluation's results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from training.evaluation import gallery
from training.evaluation.countries import both_right, in_one_place
from training.evaluation.examine import REAL, SHUFFLED, Outcome
from training.evaluation.limits import limits
from training.evaluation.measures import Share
from training.evaluation.questions import COMPOSED, NAMED
from training.evaluation.results import Results

NAMED_TARGET, COMPOSED_TARGET, WORDS_TARGET, SECONDS_TARGET = 0.6, 0.3, 0.8, 3.0
_MANY = 20  # answers from which the share among the first five says something
_TITLES = {
    "synonyms": "a dictionary's synonyms",
    "relations": "how two things stand (same things, other relation)",
    "places": "one of twelve places",
    "counts": "one, two, three or four",
    "colours": "a colour not its own",
    "worn": "sunglasses, hat or crown",
}
_TONES = {"1f3fb": "light", "1f3fc": "medium-light", "1f3fd": "medium", "1f3fe": "medium-dark", "1f3ff": "dark"}
_MEANINGS = "words of places, each meaning alone"
_EYE = "Named by eye before reading:"
_JUDGE = """The judge is a small image-text encoder that learned from this run's painted scenes and their captions only:
never from a drawn picture, with another seed, other networks, other augmentation and no tokenizer in common with the
model. It sees 64 x 64 pixels and the plain caption without its locale. A picture is right (R@1) when the judge puts its
own caption first among the set's captions ({among} for names and scenes); R@5 is among the first five. The same judge
on real pictures (unseen paintings) is the ceiling, and drawn pictures with the captions of others the floor. A name's
real picture is one of few paintings of one emoji, which makes that ceiling high. Composed scenes are held out: neither
the scene nor its painting was in training. In brackets stands the 95 % bootstrap interval."""


def write(results: Results) -> str:
    """The whole of ``report.md``."""
    parts = [
        f"# What {results.bundle} draws\n\n`{results.command}`\n\nRun {results.run}, seed {results.seed}, judge of "
        f"{results.judge_steps:,} steps. Every figure is in [report.json](report.json).\n\n"
        f"{_EYE} not done yet, of {len(results.sheet)}.",
        "## Targets\n\n" + targets(results),
        "## Is it what was asked for?\n\n" + _JUDGE.format(among=_among(results)) + "\n\n" + recall(results),
        "## Words whose meaning differs by country\n\n" + words(results),
        "## Words that it does not know\n\n" + _unknown(results),
        "## Variety and copying\n\n" + variety(results),
        "## Sharpness and time\n\n" + _speed(results),
        "## People\n\n" + people(results),
        "## What it cannot draw\n\n" + limits(results),
        "## The sheet\n\n" + _sheet(results),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _among(results: Results) -> str:
    """Among how many captions a name's or a scene's own had to come first."""
    asked = [question for name in (NAMED, COMPOSED) for question in pooled(results, name).questions]
    return " or ".join(str(count) for count in sorted({len(question.answers) for question in asked}))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def pooled(results: Results, name: str) -> Outcome:
    """The outcomes of a set in all locales as one."""
    found = [outcome for key, outcome in results.outcomes.items() if key.split(" ")[0] == name]
    return Outcome(
        [question for outcome in found for question in outcome.questions],
        {column: [place for outcome in found for place in outcome.ranks[column]] for column in results.columns},
    )


def targets(results: Results) -> str:
    """Each target, what was found, and whether it is met."""
    own = results.columns[1]
    named, composed = pooled(results, NAMED), pooled(results, COMPOSED)
    meanings, seconds = results.pairs[own], results.seconds[own]
    return table(
        ["target", "found", "ceiling (real pictures)", "n", ""],
        [
            _target("names: R@1", named.first(own), named.first(REAL), NAMED_TARGET),
            _target("composed: R@1", composed.first(own), composed.first(REAL), COMPOSED_TARGET),
            _target("words with two meanings: both right", both_right(results.words), None, WORDS_TARGET),
            _target(f"{_MEANINGS}: right", meanings, results.pairs[REAL], WORDS_TARGET),
            [
                f"one picture on 2 cores: at most {SECONDS_TARGET:g} s",
                f"{seconds:.2f} s",
                "",
                "7",
                _met(seconds <= SECONDS_TARGET),
            ],
        ],
    )


def _target(what: str, found: Share, ceiling: Share | None, wanted: float) -> list[str]:
    verdict, most = _met(found.value >= wanted), "" if ceiling is None else f"{ceiling.value:.2f}"
    return [f"{what} at least {wanted:g}", str(found), most, str(found.n), verdict]


def _met(yes: bool) -> str:
    return "met" if yes else "**not met**"


def recall(results: Results) -> str:
    """Every set: real pictures, each way to draw, and shuffled captions."""
    hands = results.columns[1:-1]
    rows = []
    for title, outcome in _lines(results):
        many = bool(outcome.questions) and len(outcome.questions[0].answers) >= _MANY
        cells = [_cell(outcome, column, many, interval=True) for column in hands]
        real, floor = _cell(outcome, REAL, many), _cell(outcome, SHUFFLED, many=False)
        rows.append([title, str(len(outcome.questions)), real, *cells, floor])
    pairs = results.pairs
    rows.append(
        [
            f"{_MEANINGS} (most of 3 pictures)",
            str(pairs[REAL].n),
            f"{pairs[REAL].value:.2f}",
            *(str(pairs[column]) for column in hands),
            f"{pairs[SHUFFLED].value:.2f}",
        ]
    )
    return table(["R@1, R@5", "n", "real (ceiling)", *hands, "shuffled (floor)"], rows)


def _lines(results: Results) -> list[tuple[str, Outcome]]:
    """The rows of the main table."""
    composed = pooled(results, COMPOSED)
    new = composed.part([question.new for question in composed.questions])
    lines = [("**names, all locales**", pooled(results, NAMED))]
    lines += [(key, outcome) for key, outcome in results.outcomes.items() if key.startswith(NAMED)]
    lines += [("**composed, all locales**", composed)]
    lines += [(key, outcome) for key, outcome in results.outcomes.items() if key.startswith(COMPOSED)]
    lines += [("composed, things that never stood so in training", new)]
    return lines + [(_TITLES[key], outcome) for key, outcome in results.outcomes.items() if key in _TITLES]


def _cell(outcome: Outcome, column: str, many: bool, interval: bool = False) -> str:
    first = outcome.first(column)
    text = str(first) if interval else f"{first.value:.2f}"
    return f"{text}, {outcome.first(column, 5).value:.2f}" if many else text


def words(results: Results) -> str:
    """Word by word, what the judge took three pictures for, and where on the sheet they are."""
    rows = []
    for one in results.words:
        took = ", ".join(f"{name} {one.names.count(name)}" for name in dict.fromkeys(one.names))
        meant = one.word.meant or "(no meaning of its own here)"
        verdict = "" if one.word.meant is None else "right" if one.right else "**wrong**"
        rows.append([one.word.word, one.word.locale, meant, took, verdict])
    both = both_right(results.words)
    return (
        "`bias.webp` shows them: three pictures for each word and locale, in the order of this table, six pictures a "
        "row. The judge chooses among the names of all things that such words mean. "
        f"Of {both.n} words with two meanings, {round(both.value * both.n)} are right in both; "
        f"{in_one_place(results.words)} of the meanings are of words that mean one thing only.\n\n"
        + table(["word", "locale", "means", "the judge sees, of 3", ""], rows)
    )


def _unknown(results: Results) -> str:
    found = results.unknown
    return (
        f"Nouns that name nothing here and invented letters: all {found.words.n} gave a picture and none an error. The "
        f"judge finds {found.words} of them as near to some real picture as 95 % of real held-out pictures are (cosine "
        f"{found.threshold:.2f} or more); of as many pictures of noise, {found.noise.value:.2f}."
    )


def variety(results: Results) -> str:
    """Distances between pictures of one caption, and to the nearest training pictures."""
    real = results.diversity[REAL]
    rows = [
        [column, f"{d.pixels:.1f}", f"{d.pixels / max(1e-9, real.pixels):.2f}", f"{d.judged:.3f}"]
        for column, d in results.diversity.items()
    ]
    c = results.copies
    return (
        table(["mean distance of two pictures of a caption", "pixels (of 255)", "of real", "judge (1 - cosine)"], rows)
        + f"\n\nNearest training picture, over means of 4 x 4 pixels: {c.share} of the sheet's {c.share.n} pictures "
        f"are nearer to a training picture than two real paintings of their captions are to each other (median "
        f"{c.paintings_apart:.1f} of 255); of unseen real paintings it is {c.real.value:.2f}. Median distance to the "
        f"nearest: {c.drawn_distance:.1f} drawn, {c.real_distance:.1f} real. A name has few paintings, so "
        "that drawing it well is drawing what was trained on; for composed scenes a copy would be a failure. "
        "`nearest.webp` shows each picture of the sheet with its nearest to the right of it."
    )


def _speed(results: Results) -> str:
    rows = [[label, f"{seconds:.2f} s"] for label, seconds in results.seconds.items()]
    made = results.reconstruction
    sharp = (
        "The autoencoder was not measured: its weights are not in the run's folder."
        if made is None
        else f"The autoencoder gives held-out scenes back with a mean error of {made['error']:.1f} of 255 "
        f"(PSNR {made['psnr']:.1f} dB, n = {made['n']:.0f})."
    )
    return sharp + "\n\n" + table(["one picture, 2 threads, median of 7", "time"], rows)


def people(results: Results) -> str:
    """The rule, how far the look at pictures can be trusted, and each word's shares."""
    found = results.people
    rows = [
        [
            one.word,
            one.locale,
            str(one.n),
            _shares(one.tones.drawn, _TONES),
            f"{one.tones.apart:.2f} / {one.tones.chance:.2f}",
            _shares(one.genders.drawn, {}),
            f"{one.genders.apart:.2f} / {one.genders.chance:.2f}",
        ]
        for one in found.words
    ]
    return (
        "The rule: each word's pictures are every gender that the emoji have, in each of the five skin tones, and all "
        "of them are drawn equally often in training. A drawn picture counts as the real one that it is nearest to; on "
        "fresh "
        f"paintings of real pictures that is right for {found.tone_accuracy} of tones and {found.gender_accuracy} of "
        f"genders (n = {found.tone_accuracy.n}). Apart is half the sum of the differences from the rule's shares; the "
        "second figure is what 95 of 100 fair draws stay below, so that a larger first one is a real difference. "
        "`people.webp` shows a row for each line.\n\n"
        + table(["word", "locale", "n", "skin tone drawn", "apart / chance", "gender drawn", "apart / chance"], rows)
    )


def _shares(drawn: dict[str, float], names: dict[str, str]) -> str:
    return ", ".join(f"{names.get(value, value)} {part:.2f}" for value, part in drawn.items())


def with_eye(text: str, found: str) -> str:
    """The report with what somebody named on the sheet before reading its captions."""
    return re.sub(rf"^{_EYE}.*$", lambda _: f"{_EYE} {found}.", text, count=1, flags=re.MULTILINE)


def _sheet(results: Results) -> str:
    rows = [[gallery.place(i), question.locale, question.prompt] for i, question in enumerate(results.sheet)]
    return (
        "`sheet.webp`: 16 pictures a row, two seeds of each caption side by side. Name them first, then read.\n\n"
        + table(["row, pictures", "locale", "caption"], rows)
    )
