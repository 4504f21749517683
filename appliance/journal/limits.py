"""What the owner of the box allows, by name: it holds for every door."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.errors import BadInput
from appliance.journal.database import Connection
from appliance.request import GenerationRequest


def kept(db: Connection) -> dict[str, int]:
    """What is limited."""
    return dict(db.execute("SELECT name, value FROM limits"))


def keep(db: Connection, limits: Mapping[str, int]) -> None:
    """Change these and no others; 0 takes one away."""
    for name, value in limits.items():
        db.execute("DELETE FROM limits WHERE name = ?", (name,))
        if value:
            db.execute("INSERT INTO limits VALUES (?, ?)", (name, value))


def check(request: GenerationRequest, limits: Mapping[str, int]) -> None:
    """Raises `BadInput` when more is asked than is allowed."""
    pixels = request.width * request.height
    for name, value in (("steps", request.steps), ("count", request.count), ("pixels", pixels)):
        if value > limits.get(name, value):
            raise BadInput(f"The owner of this box allows {name} up to {limits[name]}, not {value}: ask for less.")
