"""Everything that an evaluation found, and its plain form for ``report.json``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from training.evaluation import gallery
from training.evaluation.bias import People
from training.evaluation.countries import Seen
from training.evaluation.examine import Copies, Diversity, Outcome, Unknown
from training.evaluation.measures import Share
from training.evaluation.questions import Question


@dataclass(frozen=True)
class Results:
    """Everything that the report says. Columns are named by the hands that drew, ``real`` and ``shuffled``."""

    run: str
    seed: int
    command: str
    bundle: str
    judge_steps: int
    columns: list[str]
    outcomes: dict[str, Outcome]
    pairs: dict[str, Share]
    words: list[Seen]
    diversity: dict[str, Diversity]
    copies: Copies
    unknown: Unknown
    people: People
    reconstruction: dict[str, float] | None
    seconds: dict[str, float]
    sheet: list[Question]


def as_json(results: Results) -> dict[str, Any]:
    """Every figure as plain values; of the questions their words alone, of the pictures none."""
    kept = {field.name: getattr(results, field.name) for field in dataclasses.fields(results)}
    kept["outcomes"] = {
        name: {
            "prompts": [question.prompt for question in outcome.questions],
            "kinds": [question.kind for question in outcome.questions],
            "new": [question.new for question in outcome.questions],
            "answers": [len(question.answers) for question in outcome.questions],
            "ranks": outcome.ranks,
            "first": {column: dataclasses.asdict(outcome.first(column)) for column in outcome.ranks},
        }
        for name, outcome in results.outcomes.items()
    }
    kept["sheet"] = [
        {"where": gallery.place(i), "locale": question.locale, "prompt": question.prompt}
        for i, question in enumerate(results.sheet)
    ]
    kept["people"] = dataclasses.asdict(dataclasses.replace(results.people, pictures=[]))
    kept["words"] = [dataclasses.asdict(one) for one in results.words]
    for name in ("pairs", "diversity"):
        kept[name] = {column: dataclasses.asdict(value) for column, value in kept[name].items()}
    for name in ("copies", "unknown"):
        kept[name] = dataclasses.asdict(kept[name])
    return kept
