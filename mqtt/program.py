"""One of the box's own commands, as a process of its own: it may take minutes, and a whole model's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from appliance.errors import EnsuenoError

_SECONDS = 300


def own_command(data_dir: Path, *arguments: str) -> str:
    """Run it over `data_dir`; its last line. Raises `EnsuenoError` with its sentence."""
    command = [sys.executable, "-m", "appliance", *arguments, "--data-dir", str(data_dir)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise EnsuenoError("It took too long and was stopped: try it on the box itself.") from None
    if answer.returncode != 0:
        raise EnsuenoError((answer.stderr.strip().splitlines() or ["It failed without a word."])[-1])
    return (answer.stdout.strip().splitlines() or ["Done."])[-1]
