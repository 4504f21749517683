"""`python -m benchmarks.gpu --out FILE`: run every check that this machine can run, and write what was seen as JSON."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from appliance.command import Parser
from appliance.errors import BadInput, EnsuenoError, Unavailable
from benchmarks.gpu.device import described
from benchmarks.gpu.part import LIMITS, run

_LIBRARIES = (
    *("torch", "diffusers", "transformers", "numpy", "pycuda", "cuda-bindings", "cuda-core", "nvidia-cudnn-cu13"),
    *("onnxruntime", "onnxruntime-gpu", "tensorrt-rtx-cu13-libs", "tensorrt"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """→ the exit status: 0 when all that ran was right, 1 when something failed, 2 for bad input or no device."""
    try:
        options = _parser().parse_args(argv)
        _writable(options.out)
        with tempfile.TemporaryDirectory() as site:
            if options.wheels is not None:
                _install(options.wheels, Path(site))
            return _check(options.out, options.only or list(LIMITS), options.budget, site)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="scripts/gpu-check", description="What an NVIDIA GPU does at full size, without a network.")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the JSON goes")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="packages to use that this machine has not")
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), metavar="CHECK", help=f"of {', '.join(LIMITS)}")
    parser.add_argument("--budget", type=float, default=150, help="seconds for all of them (150)")
    return parser


def _writable(out: Path) -> None:
    try:
        out.write_text("{}\n")
    except OSError as error:
        raise BadInput(f"{out} cannot be written ({error.strerror}): name another file with --out.") from error


def _install(wheels: Path, site: Path) -> None:
    """Unpack them for the checks alone; the machine's own packages stay as they are."""
    files = sorted(str(wheel) for wheel in wheels.glob("*.whl"))
    if not files:
        raise BadInput(f"{wheels} holds no wheels: fill it with `pip download`, or leave --wheels out.")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
    done = subprocess.run([*pip, "--target", str(site), *files], capture_output=True, text=True)
    if done.returncode:
        raise BadInput(f"{wheels} could not be installed: {done.stderr.strip().splitlines()[-1]}")
    sys.path.insert(0, str(site))


def _check(out: Path, names: Sequence[str], budget: float, site: str) -> int:
    """Run them one after another; the file is whole after each, whatever happens to the next."""
    began = time.monotonic()
    device = described()
    told: dict[str, Any] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "device": device,
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: _version(name) for name in _LIBRARIES},
        "checks": {},
    }
    if device is None:
        told["failed"] = "No CUDA device is there: run this on a machine with an NVIDIA GPU and its driver."
        _write(out, told)
        raise BadInput(told["failed"])
    for name in names:
        left = budget - (time.monotonic() - began)
        told["checks"][name] = run(name, min(LIMITS[name], left), site)
        told["seconds"] = round(time.monotonic() - began, 1)
        _write(out, told)
        print(f"{name}: {json.dumps(told['checks'][name], ensure_ascii=False)}", flush=True)
    failed = [name for name, seen in told["checks"].items() if "failed" in seen]
    if failed:
        raise Unavailable(f"Not everything was right ({', '.join(failed)}): {out} says what was seen.")
    return 0


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _write(out: Path, told: dict[str, Any]) -> None:
    out.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
