"""One check in a process of its own: `python -m benchmarks.gpu.part NAME` tells what it sees, a line of JSON each time.

What was told before a check failed or ran out of time is kept: half a check is worth something on a borrowed machine.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.telling import NotHere

# every check in its order, the most wanted first, and its seconds; a warm start of torch alone takes about 5
LIMITS = {
    "matmul": 40.0,
    "sd15_unet": 40.0,
    "sd15_vae": 30.0,
    "pycuda_context": 30.0,
    "cuda_bindings": 20.0,
    "sdxl_unet": 45.0,
    "tensorrt_rtx": 40.0,
    "onnxruntime_cuda": 30.0,
}
_ROOT = Path(__file__).resolve().parents[2]


def run(name: str, limit: float, site: str = "") -> dict[str, Any]:
    """What the check told, plus `seconds`, and `failed` or `not_here` with the text; `site` is put on its path."""
    if limit <= 1:
        return {"not_here": "no time was left: give it more with --budget"}
    path = os.pathsep.join(part for part in (site, str(_ROOT), os.environ.get("PYTHONPATH", "")) if part)
    command = [sys.executable, "-m", "benchmarks.gpu.part", name]
    began = time.monotonic()
    ended: dict[str, Any] = {}
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit, env={**os.environ, "PYTHONPATH": path})
        said, status, errors = done.stdout, done.returncode, done.stderr
        if status:
            ended["failed"] = f"exit status {status}: {_end_of(errors)}"
    except subprocess.TimeoutExpired as late:
        said, ended["failed"] = late.stdout or b"", f"it took more than its {limit:.0f} s"
    told: dict[str, Any] = {"seconds": round(time.monotonic() - began, 1)}
    for line in said.splitlines():
        told |= json.loads(line)
    return ended | told  # a check's own words about its failure say more than its exit status


def _end_of(errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-3:])[-600:]


def main(name: str) -> int:
    """Run one check here; libraries may print what they like, the answers stay clean."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(**seen: Any) -> None:
        print(json.dumps(seen, ensure_ascii=False), file=answers, flush=True)

    try:
        importlib.import_module(f"benchmarks.gpu.{name}").check(tell)
    except (NotHere, ModuleNotFoundError) as missing:
        tell(not_here=str(missing))
    except Exception as error:  # whatever a vendor's library raises is the finding
        tell(failed=f"{type(error).__name__}: {error}"[:800])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
