"""``python -m training evaluate``: the judge, every trial, and the report with its sheets.

What is judged is the bundle that users get, drawn through the box's own pipeline. The judge is trained first where that
has not been done.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training import checkpoint, loop, stages
from training.corpus import data
from training.errors import TrainingError
from training.evaluation import bias, countries, examine, gallery, report
from training.evaluation.bias import People
from training.evaluation.countries import Countries
from training.evaluation.drawing import Hand, Wish
from training.evaluation.examine import Copies, Diversity, Examiner, Outcome, Unknown
from training.evaluation.judge import Judge
from training.evaluation.measures import Share
from training.evaluation.questions import COMPOSED, NAMED, Asker, Question
from training.evaluation.results import Results, as_json
from training.run import Run

FEW_STEPS = 4


@dataclass(frozen=True)
class Options:
    """What the command line says. ``few`` is a bundle distilled to few steps, if there is one."""

    bundle: Path
    out: Path
    count: int = 100
    quick: bool = False
    few: Path | None = None
    command: str = ""


def evaluate(run: Run, folder: Path, options: Options) -> Results:
    """Do all of it and write ``report.md``, ``report.json`` and the sheets to ``options.out``."""
    if options.count < 8:
        raise TrainingError("The count must be at least 8.")
    hands = make_hands(options)
    if (run.data.size, run.data.size) != hands[0].offer.sizes[0]:
        raise TrainingError(f"{options.bundle} does not draw pictures of the run's {run.data.size} pixels a side.")
    judge = trained_judge(run, folder)
    dataset = data.load(run, folder / "data")
    asker = Asker(run, dataset, min(options.count, 12) if options.quick else options.count)
    examiner = Examiner(run, dataset, asker, judge, hands)
    options.out.mkdir(parents=True, exist_ok=True)
    seconds = {hand.label: hand.seconds(Wish("a red apple", asker.locales[0], 1)) for hand in hands}
    outcomes = {name: examiner.outcome(name, questions) for name, questions in asker.sets().items()}
    pairs, words = word_trial(examiner, options.out)
    chosen = gallery.choose({name: outcome.questions for name, outcome in outcomes.items()})
    results = Results(
        run=run.name,
        seed=run.seed,
        command=options.command,
        bundle=hands[0].bundle.manifest.title,
        judge_steps=judge.progress.step,
        columns=[examine.REAL, *(hand.label for hand in hands), examine.SHUFFLED],
        outcomes=outcomes,
        pairs=pairs,
        words=words,
        diversity=diversity_trial(examiner, outcomes, options.quick),
        copies=sheet_trial(examiner, chosen, options.out),
        unknown=unknown_trial(examiner, options.quick),
        people=people_trial(examiner, options),
        reconstruction=examiner.reconstruction(folder, 16 if options.quick else 256),
        seconds=seconds,
        sheet=chosen,
    )
    (options.out / "report.md").write_text(report.write(results), "utf-8")
    (options.out / "report.json").write_text(json.dumps(as_json(results), ensure_ascii=False, indent=1) + "\n", "utf-8")
    return results


def note_by_eye(out: Path, found: str) -> None:
    """Write what somebody named unread into a finished report, and change nothing else."""
    path, figures = out / "report.md", out / "report.json"
    try:
        text, kept = path.read_text("utf-8"), json.loads(figures.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"There is no finished report in {out}: evaluate without --by-eye first.") from error
    path.write_text(report.with_eye(text, found), "utf-8")
    figures.write_text(json.dumps(kept | {"by_eye": found}, ensure_ascii=False, indent=1) + "\n", "utf-8")


def make_hands(options: Options) -> list[Hand]:
    """The bundle at its own number of steps and at four, and the distilled one."""
    own = Hand("", options.bundle)
    own = own.with_steps(f"{own.steps} steps", own.steps)
    hands = [own] if own.steps == FEW_STEPS else [own, own.with_steps(f"{FEW_STEPS} steps", FEW_STEPS)]
    if options.few is not None:
        hands.append(Hand(f"{FEW_STEPS} steps, distilled", options.few, FEW_STEPS))
    return hands


def trained_judge(run: Run, folder: Path) -> Judge:
    """The judge, trained to its end first where it is not."""
    if "judge" not in run.stages:
        raise TrainingError("The run lacks the stage 'judge'.")
    path = folder / "judge.safetensors"
    done = path.exists() and checkpoint.load_average(path)[0].step >= run.stages["judge"].steps
    if not done and not stages.train(run, "judge", folder, "auto"):
        raise SystemExit("Stopped; the same command goes on from the checkpoint.")
    return Judge(run, folder, loop.pick_device("auto"))


def word_trial(examiner: Examiner, out: Path) -> tuple[dict[str, Share], list[countries.Seen]]:
    """Words whose meaning differs by country, and their sheet: a row for each word and locale, three seeds."""
    trial = Countries(examiner.asker, examiner.judge)
    real = trial.real(examiner.painter, trial.meant)
    shares = {examine.REAL: countries.meanings_right(trial.look(trial.meant, real))}
    pictures = trial.draw(examiner.hands[0], trial.words)
    seen = trial.look(trial.words, pictures)
    shares[examiner.hands[0].label] = countries.meanings_right(seen)
    for hand in examiner.hands[1:]:
        shares[hand.label] = countries.meanings_right(trial.look(trial.meant, trial.draw(hand, trial.meant)))
    mixed = pictures[np.random.default_rng(37).permutation(len(pictures))]
    shares[examine.SHUFFLED] = countries.meanings_right(trial.look(trial.words, mixed))
    gallery.write_rows(out / "bias.webp", pictures, 2 * countries.SEEDS)
    return shares, seen


def diversity_trial(examiner: Examiner, outcomes: dict[str, Outcome], quick: bool) -> dict[str, Diversity]:
    """Sixteen names and sixteen composed scenes, eight seeds each."""
    captions, seeds = (2, 3) if quick else (16, 8)
    first = examiner.asker.locales[0]
    chosen = [outcomes[f"{name} {first}"].questions[:captions] for name in (NAMED, COMPOSED)]
    return examiner.diversity([*chosen[0], *chosen[1]], seeds)


def sheet_trial(examiner: Examiner, chosen: list[Question], out: Path) -> Copies:
    """Draw the sheet, and find the training pictures that are nearest to it."""
    drawn = [
        examiner.hands[0].draw([Wish(q.prompt, q.locale, seed + i) for i, q in enumerate(chosen)], "sheet")
        for seed in gallery.SEEDS
    ]
    both = gallery.beside(*drawn)
    gallery.write_rows(out / "sheet.webp", both, 2 * gallery.ACROSS)
    copies, near = examiner.copies(both, [question.scene for question in chosen for _ in gallery.SEEDS])
    gallery.write_rows(out / "nearest.webp", gallery.beside(both, near), 2 * gallery.ACROSS)
    return copies


def unknown_trial(examiner: Examiner, quick: bool) -> Unknown:
    """Nouns that the run took from the dictionary as naming nothing, and invented letters, in every locale."""
    rng = np.random.default_rng([examiner.run.seed, 43])
    strangers = examiner.asker.library.strangers
    words = [strangers[int(i)] for i in rng.permutation(len(strangers))[: 8 if quick else 32]]
    letters = "abcdefghijklmnopqrstuvwxyz"
    words += ["".join(letters[int(i)] for i in rng.integers(26, size=7)) for _ in range(4 if quick else 16)]
    locales = examiner.asker.locales
    return examiner.unknown([(word, locales[i % len(locales)]) for i, word in enumerate(words)])


def people_trial(examiner: Examiner, options: Options) -> People:
    """Words for people, and their sheet: a row for each word and locale."""
    seeds = 6 if options.quick else 60
    found = bias.people(examiner.run, examiner.asker, examiner.painter, examiner.hands[0], seeds)
    gallery.write_rows(options.out / "people.webp", np.concatenate(found.pictures), min(seeds, bias.SHOWN))
    return found
