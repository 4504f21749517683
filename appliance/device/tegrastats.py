"""One line of NVIDIA's `tegrastats`: what sysfs does not tell (the largest free block; on Thor the GPU's load).

The line's shape changed with JetPack 5, 6, 7 and by board, so each figure is sought by its own pattern and may be
absent: tests/device/fixtures/tegrastats.txt holds recorded lines.
"""

from __future__ import annotations

import re
import select
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

_FREE_BLOCK = re.compile(r"\(lfb (\d+)x(\d+)MB\)")
_GPU = re.compile(r"GR3D_FREQ (?:(\d+)%)?(?:@\[?(\d+))?")
_TEMPERATURE = re.compile(r"\b(\w+)@(-?\d+(?:\.\d+)?)C")
_RAIL = re.compile(r"\b(V\w+) (\d+)mW")


@dataclass(frozen=True)
class Tegrastats:
    """°C and watts by name; `gpu_load` 0 to 1, `gpu_hertz`; `largest_free_blocks` (how many, bytes of each)."""

    temperatures: Mapping[str, float] = field(default_factory=dict)
    rails: Mapping[str, float] = field(default_factory=dict)
    gpu_load: float | None = None
    gpu_hertz: float | None = None
    largest_free_blocks: tuple[int, int] | None = None


def parse(line: str) -> Tegrastats:
    """What the line tells; never raises."""
    gpu, block = _GPU.search(line), _FREE_BLOCK.search(line)
    load, megahertz = gpu.groups() if gpu else (None, None)
    return Tegrastats(
        temperatures={name.lower(): float(value) for name, value in _TEMPERATURE.findall(line)},
        rails={name: int(value) / 1000 for name, value in _RAIL.findall(line)},
        gpu_load=None if load is None else min(1.0, int(load) / 100),
        gpu_hertz=None if megahertz is None else int(megahertz) * 1e6,
        largest_free_blocks=None if block is None else (int(block[1]), int(block[2]) << 20),
    )


def sample(seconds: float = 3.0) -> Tegrastats | None:
    """Run it for one line; None where there is no tegrastats or it says nothing in time."""
    command = shutil.which("tegrastats")
    if command is None:
        return None
    with subprocess.Popen([command, "--interval", "200"], stdout=subprocess.PIPE, text=True) as process:
        line = _first_line(process.stdout, seconds) if process.stdout else ""
        process.kill()
    return parse(line) if line else None


def _first_line(stream: IO[str], seconds: float) -> str:
    ready, _, _ = select.select([stream], [], [], seconds)
    return stream.readline() if ready else ""
