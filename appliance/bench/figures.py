"""A figure: runs of one measurement, their median and spread, and the goal it is held to."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

UNITS = {"s": 1.0, "ms": 1e3, "µs": 1e6}


@dataclass(frozen=True)
class Goal:
    """A figure of the design: the median must be at most, or at least, `limit`."""

    sign: Literal["≤", "<", "≥"]
    limit: float

    def met(self, value: float) -> bool:
        """Whether the value reaches the goal."""
        return {"≤": value <= self.limit, "<": value < self.limit, "≥": value >= self.limit}[self.sign]


@dataclass(frozen=True)
class Figure:
    """One row of the answer; `runs` are in `unit`, `note` says how it was measured where the name does not."""

    group: str
    name: str
    unit: str
    runs: Sequence[float]
    goal: Goal | None = None
    note: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    def as_json(self) -> dict[str, Any]:
        """Plain fields; `goal` is text and `met` None where the design names no figure."""
        return {
            "group": self.group,
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "low": min(self.runs),
            "high": max(self.runs),
            "runs": list(self.runs),
            "goal": None if self.goal is None else f"{self.goal.sign} {self.goal.limit:g} {self.unit}",
            "met": None if self.goal is None else self.goal.met(self.median),
            "note": self.note,
        }


def timed(work: Callable[[], object], repeat: int, unit: str, calls: int = 1) -> list[float]:
    """`repeat` runs of `calls` calls each, the time of one call in `unit`; one call beforehand warms up."""
    work()
    runs = []
    for _ in range(repeat):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        runs.append((time.perf_counter() - began) / calls * UNITS[unit])
    return runs
