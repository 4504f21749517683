"""`ensueno bench`: what every stage costs on this machine, beside the goals of the design.

Stages are measured in this process, the service on real processes in a temporary data dir. Every figure is the median
of its runs and says how far they spread; a goal is met by the median. Nothing here is a test: no time is asserted.
"""

from __future__ import annotations

from typing import Any

from appliance.config import Settings
from appliance.errors import BadInput
from appliance.pipeline.manifest import Bundle

MAX_REPEAT = 1000


def bench(settings: Settings, repeat: int) -> dict[str, Any]:
    """Measure everything with the bundle and threads of `settings`; the figures as plain json.

    Raises `BadInput` for a repeat that is out of range, `BadBundle`, `Unavailable` when the box does not start.
    """
    if not 1 <= repeat <= MAX_REPEAT:
        raise BadInput(f"repeat must be 1 to {MAX_REPEAT}, not {repeat}.")
    bundle = Bundle.open(settings.bundle)
    bundle.verify()
    from appliance.bench import (  # numpy and the engine only when something is measured
        box,
        engines,
        machine,
        service,
        stages,
    )

    threads = stages.threads(settings)
    where = machine.describe(threads)
    measured = stages.measure(bundle, settings, repeat)
    beside, passed_over = engines.measure(bundle, settings, repeat)
    plan = box.Plan(bundle, measured.engine, threads, box.beside(settings.data_dir))
    figures = [*measured.figures, *beside, *service.measure(plan, repeat, png_ms=measured.png_ms)]
    return {
        "machine": where,
        "bundle": bundle.manifest.title,
        "engine": measured.engine,
        "passed_over": passed_over,
        "repeat": repeat,
        "figures": [figure.as_json() for figure in figures],
    }


def as_text(figures: dict[str, Any]) -> str:
    """A table for people: what, median, spread, goal, met or not."""
    machine = figures["machine"]
    rows = [("", "median", "spread", "goal", "")]
    group = ""
    for figure in figures["figures"]:
        if figure["group"] != group:
            group = figure["group"]
            rows.append((f"\n{group}", "", "", "", ""))
        rows.append(
            (
                f"  {figure['name']}",
                f"{_number(figure['median'])} {figure['unit']}",
                f"{_number(figure['low'])} … {_number(figure['high'])}",
                figure["goal"] or "",
                {None: "", True: "met", False: "NOT MET"}[figure["met"]],
            )
        )
    widths = [max(len(row[column].lstrip("\n")) for row in rows) for column in range(4)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip() for row in rows
    ]
    head = f"{figures['bundle']} with {figures['engine']} on {machine['line']}, {machine['date']}"
    return "\n".join([head, *lines, "", *(f"not measured: {why}" for why in figures["passed_over"])]).rstrip()


def _number(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
