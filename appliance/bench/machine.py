"""The machine that the figures belong to, in one line."""

from __future__ import annotations

import os
import platform
import re
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")


def describe(threads: int) -> dict[str, Any]:
    """CPU, cores, load, Python and ONNX Runtime, with a `line` for people and the date in UTC.

    `load` is what kept the machine busy before the benchmark began: with more than a little, times mean nothing.
    """
    facts: dict[str, Any] = {
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
    line = (
        f"{facts['cpu']}, {facts['cores']} cores ({threads} threads), load {facts['load']} before, {facts['system']}, "
        f"Python {facts['python']}, ONNX Runtime {facts['onnxruntime']}"
    )
    return facts | {"line": line}


def cpu() -> str:
    """The processor's name; Arm kernels give a device tree's model in its place."""
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", _CPUINFO.read_text(), re.MULTILINE)
        if named:
            return named[1].strip()
        return Path("/proc/device-tree/model").read_text().strip("\0 \n")
    except OSError:
        return platform.processor() or platform.machine()
