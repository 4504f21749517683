"""What processes hold in memory, from /proc (Linux): PSS, where pages shared by n processes count 1/n for each."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = float(1 << 20)


@dataclass(frozen=True)
class Held:
    """One process: MiB resident, and MiB by proportional share."""

    pid: int
    command: str
    rss: float
    pss: float


def family(pid: int) -> list[Held]:
    """The process and all that came from it; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        parent = _parent(folder)
        if parent is not None:
            children.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, [])
        held = look(one)
        if held is not None:
            found.append(held)
    return found


def look(pid: int) -> Held | None:
    """One process, None when it is gone."""
    folder = _PROC / str(pid)
    try:
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        rollup = (folder / "smaps_rollup").read_text()
    except OSError:
        return None
    sizes = {name: int(kib) / 1024 for name, kib in re.findall(r"^(Rss|Pss):\s+(\d+) kB$", rollup, re.MULTILINE)}
    return Held(pid, command, sizes["Rss"], sizes["Pss"])


def resident() -> float:
    """MiB resident of this very process: microseconds, so it may be asked around every call."""
    try:
        return int((_PROC / "self" / "statm").read_text().split()[1]) * _PAGE / MIB
    except OSError:
        return 0.0


def _parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None
