"""`scripts/test-aarch64`: runs Dockerfile.l4t's own steps on an emulated aarch64 machine, and draws a picture there.

The userland is Debian's, made by debootstrap; QEMU runs its programs through binfmt_misc. It stands in for the stage
that NVIDIA's packages come from, so TensorRT and pycuda are not in it: the engine is ONNX Runtime. Then the image's
command serves with no network but its own loopback until its health check passes, and one picture is compared with the
one that this machine draws. What it does not prove: anything about a GPU, Ubuntu, Python 3.10 and 3.12, or speed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from appliance.command import Parser
from appliance.errors import BadInput, EngineFault, EnsuenoError
from packing.built import Built, context
from packing.dockerfile import parse
from packing.pictures import apart
from packing.userland import Userland, copied, made

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = "jetpack-"  # stages of this name are NVIDIA's
MOST_APART = 2  # of 255, for any one value: kernels differ between processors in their last bits
PROMPT, SEED = "a red apple", "7"
_WHERE = "import platform; print(platform.machine(), platform.python_version())"
_PATIENCE = 900.0  # seconds until the health check passes; emulated, a start takes minutes


def main(argv: Sequence[str] | None = None) -> int:
    """→ the exit status: 0 when the pictures agree, 1 when a step or the comparison fails, 2 for bad input."""
    try:
        options = _parser().parse_args(argv)
        told = check(options.keep)
        print(json.dumps(told, ensure_ascii=False, indent=2))
        if options.out is not None:
            options.out.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="scripts/test-aarch64", description="Dockerfile.l4t's own steps on an emulated aarch64 machine."
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the userland there, and use it if it is there"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures there too, as JSON")
    return parser


def check(keep: Path | None) -> dict[str, Any]:
    """All of it; → seconds of each part, the steps, and how far apart the pictures are."""
    if os.geteuid() != 0:
        raise BadInput("A userland can be made by root alone: run it with sudo, or in a virtual machine.")
    told: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "seconds": {}}
    watch = Stopwatch(told["seconds"])
    with ExitStack() as cleaning:
        folder = keep or Path(cleaning.enter_context(tempfile.TemporaryDirectory(prefix="ensueno-aarch64-")))
        base = made(folder.resolve())
        watch.lap("base system")
        root = Path(cleaning.enter_context(tempfile.TemporaryDirectory(prefix="root-", dir=folder)))
        userland = cleaning.enter_context(Userland(copied(base, root)))
        sent = cleaning.enter_context(context(ROOT))
        watch.lap("copies")
        built = _built(Built(userland, sent), told)
        watch.lap("the Dockerfile's steps")
        told["python"] = userland.answer(["/opt/ensueno/venv/bin/python", "-c", _WHERE])
        told["health_check_passed"] = built.serve_until_healthy(_PATIENCE)
        watch.lap("served, without a network, until its health check passed")
        there = built.run(["ensueno", "generate", PROMPT, "--seed", SEED, "--out", "there.png"])
        watch.lap("one picture, emulated")
        told["compared"] = _compared(there / "there.png")
        watch.lap("the same here")
    most = told["compared"]["most"]
    if most > MOST_APART:
        raise EngineFault(f"The pictures are {most} of 255 apart, more than {MOST_APART}: {told['compared']}.")
    return told


class Stopwatch:
    """Seconds since the last lap, kept and said."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self._seconds[name] = round(now - self._since, 1)
        self._since = now
        print(f"{name}: {self._seconds[name]} s", file=sys.stderr, flush=True)


def _built(built: Built, told: dict[str, Any]) -> Built:
    """The steps of every stage on the way to the last but NVIDIA's."""
    way = parse((ROOT / "Dockerfile.l4t").read_text(encoding="utf-8")).way_to_the_last()
    told["stood_in_for"] = [stage.name for stage in way if stage.name.startswith(STAND_IN)]
    steps = [step for stage in way if not stage.name.startswith(STAND_IN) for step in stage.steps]
    told["ran"] = []
    told["did_not_run"] = []
    for step in steps:
        done = built.take(step)
        if step.word in ("RUN", "COPY"):
            told["ran" if done else "did_not_run"].append(f"{step.word} {' '.join(step.text.split())}"[:100])
    return built


def _compared(there: Path) -> dict[str, Any]:
    """The same picture, drawn by this machine's processor."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "here.png"
        from appliance.cli import main as ensueno

        if ensueno(["generate", PROMPT, "--seed", SEED, "--out", str(here)]):
            raise EngineFault("This machine cannot draw the picture to compare with: see the line above.")
        return {"with": platform.machine(), **apart(there, here)}


if __name__ == "__main__":
    sys.exit(main())
