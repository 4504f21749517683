"""How a torment ends for whoever ran it: the verdict kept, told, and turned into an exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol


class Found(Protocol):
    """A verdict: a dataclass of plain figures and lists."""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""

    def told(self) -> str:
        """One line for people."""


def conclude(verdict: Found, command: list[str], folder: Path, careless: bool) -> int:
    """Write `verdict.json` and one line; → 0 when all is well, of a negative control when it was found out."""
    kept = {"command": command, "good": verdict.good, "told": verdict.told(), **vars(verdict)}
    (folder / "verdict.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
    print(verdict.told())
    if careless:
        print("The negative control was found out, as it must be." if not verdict.good else "It was NOT found out.")
    return int(verdict.good == careless)
