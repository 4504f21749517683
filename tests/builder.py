"""A stand-in for a builder of plans: a process of that name and the progress file it would write. It builds nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def told(**changes: object) -> dict[str, object]:
    """What `engine_build.build_progress` writes in the midst of a build."""
    fields = {"component": "unet", "number": 2, "of": 4, "fraction": 0.45, "phases": [], "seconds": 71.5, "note": None}
    return fields | changes


@contextmanager
def at_work(data_dir: Path, **changes: object) -> Iterator[None]:
    """The second of four networks is being built."""
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "engine_build"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # before that it is not yet known by its name
        place = data_dir / "engines" / "0123456789abcdef" / "progress.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(told(pid=process.pid) | changes))
        yield
