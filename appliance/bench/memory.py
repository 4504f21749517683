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


class Resident:
    """MiB resident of this very process: a microsecond each time, so it may be asked around every call."""

    def __init__(self) -> None:
        try:
            self._statm: int | None = os.open(_PROC / "self" / "statm", os.O_RDONLY)
        except OSError:
            self._statm = None

    def __call__(self) -> float:
        if self._statm is None:
            return 0.0
        return int(os.pread(self._statm, 100, 0).split()[1]) * _PAGE / MIB


def _parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None
