"""What the CPU engines ask of the machine: its cores and its free memory."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.device import sensors

_SMT = Path("/sys/devices/system/cpu/smt/active")


def cores() -> int:
    """Physical cores that this process may use; two threads on one core only get in each other's way."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        paired = _SMT.read_text().strip() == "1"
    except OSError:
        paired = False
    return max(1, usable // 2) if paired else usable


def available_memory() -> int:
    """Bytes that a process can still have without others being swapped out; on a Jetson the GPU's too."""
    return sensors.memory().available
