"""How much memory drawing takes, measured while it is done."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from appliance.device import sensors


class Footprint:
    """`with footprint.growth(): …` leaves in `bytes` how much more memory the block needed at its peak.

    On a PC that is this process's resident memory. On a Jetson the GPU's allocations are not among a process's pages,
    so what the whole box has less is taken: other programs' noise included.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._shared = sensors.l4t(root) is not None
        self.bytes = 0

    @contextlib.contextmanager
    def growth(self) -> Iterator[None]:
        with contextlib.suppress(OSError):
            (self._root / "proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
        before = self._used()
        yield
        self.bytes = max(0, self._used() - before)

    def _used(self) -> int:
        if self._shared:
            memory = sensors.memory(self._root)
            return memory.total - memory.available
        try:
            peak = re.search(r"VmHWM:\s+(\d+)", (self._root / "proc/self/status").read_text())
        except OSError:
            return 0
        return int(peak[1]) << 10 if peak else 0
