"""`ensueno status`: how the box of a data dir is, read from its journal and its engine's pulse."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from appliance.config import Settings
from appliance.errors import NotFound
from appliance.journal import Journal
from appliance.plans.building import building
from appliance.progress import Board, board_folder, engine_alive


def status(settings: Settings) -> dict[str, Any]:
    """Jobs by state and the engine's own word. Raises `NotFound` when the data dir was never used."""
    if not settings.journal_path.is_file():
        raise NotFound(f"{settings.data_dir} was never used: start the box with `ensueno serve`.")
    pulse = Board(board_folder(settings.data_dir)).pulse()
    jobs = {state.value: count for state, count in Journal(settings.journal_path).counts().items()}
    build = building(settings.data_dir)
    return {
        "data_dir": str(settings.data_dir),
        "engine_alive": engine_alive(pulse),
        "engine": pulse.engine if pulse else None,
        "bundle": pulse.bundle if pulse else None,
        "pictures": pulse.pictures if pulse else 0,
        "passed_over": pulse.passed_over if pulse else [],
        "note": pulse.note if pulse else None,
        "building": asdict(build) if build else None,
        "jobs": jobs,
    }


def as_text(told: dict[str, Any]) -> str:
    """The same for a person."""
    alive = f"alive: {told['engine']} with {told['bundle']}" if told["engine_alive"] else "not running"
    build = told["building"]
    jobs = ", ".join(f"{count} {state}" for state, count in told["jobs"].items() if count) or "none yet"
    lines = [f"data dir   {told['data_dir']}", f"engine     {alive}", f"jobs       {jobs}"]
    if build:
        part = f"{build['component']}, {build['number']} of {build['of']}"
        lines.append(f"building   plans: {part}; {build['done']:.0%} of all")
    if told["engine_alive"]:
        lines += [f"not used   {sentence}" for sentence in told["passed_over"]]
    if told["engine_alive"] and told["note"]:
        lines.append(f"note       {told['note']}")
    return "\n".join(lines)
