"""The sheets of pictures beside the report, without a word on them: one can name what is drawn before reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from training import sheet
from training.corpus.library import Pixels
from training.evaluation.questions import COMPOSED, NAMED, Question

SEEDS = (7_000, 8_000)  # of a caption's two pictures: plus its place on the sheet
CAPTIONS, ACROSS = 64, 8


def choose(sets: Mapping[str, Sequence[Question]], count: int = CAPTIONS) -> list[Question]:
    """Captions for the sheet: names and composed scenes half of it, the other sets in turn the rest; none twice."""
    ranked = [questions for name, questions in sets.items() if name.startswith((NAMED, COMPOSED))]
    others = [questions for name, questions in sets.items() if not name.startswith((NAMED, COMPOSED))]
    chosen: dict[tuple[str, str], Question] = {}
    for turn in range(count * 4):
        group = ranked if turn % 2 == 0 or not others else others
        number, again = turn // 2 % len(group), turn // 2 // len(group)
        questions = group[number]
        question = questions[(again + number * max(1, len(questions) // len(group))) % len(questions)]
        chosen.setdefault((question.prompt, question.locale), question)
        if len(chosen) == count:
            break
    return list(chosen.values())


def place(index: int) -> str:
    """Where on the sheet the caption of this number is, in words."""
    return f"row {index // ACROSS + 1}, {2 * (index % ACROSS) + 1} and {2 * (index % ACROSS) + 2}"


def beside(left: Pixels, right: Pixels) -> Pixels:
    """Each picture of ``left`` and behind it that of ``right``."""
    return np.stack([left, right], axis=1).reshape(-1, *left.shape[1:])


def write_rows(path: Path, pictures: Pixels, across: int) -> None:
    """Pictures in reading order, ``across`` in a row."""
    sheet.write(path, [pictures[i : i + across] for i in range(0, len(pictures), across)], scale=1)
