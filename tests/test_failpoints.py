"""Failpoints: a process dies at the named one, at the passing that was asked for, and nowhere when unarmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

_PASS = "from appliance.failpoints import reached\nfor i in range(3):\n    reached('here')\n    print(i, flush=True)"


@pytest.mark.parametrize(
    ("order", "printed", "status"),
    [
        ("here", [], -signal.SIGKILL),
        ("here:1", [], -signal.SIGKILL),
        ("here:3", ["0", "1"], -signal.SIGKILL),
        ("here:4", ["0", "1", "2"], 0),
        ("elsewhere", ["0", "1", "2"], 0),
        ("", ["0", "1", "2"], 0),
    ],
)
def test_it_dies_where_it_was_told_to(order: str, printed: list[str], status: int) -> None:
    environment = {**os.environ, "ENSUENO_FAILPOINT": order}
    ended = subprocess.run([sys.executable, "-c", _PASS], capture_output=True, text=True, env=environment)
    assert ended.stdout.split() == printed
    assert ended.returncode == status
