"""Our own modules as processes of their own: found where this one was, whatever lies in the working folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def command(module: str, arguments: Sequence[str]) -> list[str]:
    """`python -m module …`, with the Python that runs here."""
    return [sys.executable, "-m", module, *arguments]


def environment() -> dict[str, str]:
    """For that command; Python 3.10 knows no PYTHONSAFEPATH and looks into the working folder first."""
    root = os.fspath(Path(__file__).resolve().parents[1])
    path = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path)}
