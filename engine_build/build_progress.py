"""How far a build is: a line on a terminal, and a json file that the page and the log read."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_EVERY = 0.25  # seconds between two writes
_LOG_EVERY = 30.0  # seconds between two lines where nobody looks at a terminal


class BuildProgress:
    """Told of phases and steps by a builder; tells the file and standard error."""

    def __init__(self, path: Path, components: list[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._components = components
        self._clock = clock
        self._told = self._logged = -1e9
        self._phases: list[tuple[str, int, int]] = []  # name, steps, steps done; the outermost first
        self._began = clock()
        self.component = ""

    def begin(self, component: str) -> None:
        """The next network."""
        self.component, self._phases, self._began = component, [], self._clock()
        self._tell(now=True)

    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        self._phases.append((name, max(steps, 1), 0))
        self._tell()

    def step_complete(self, name: str, step: int) -> None:
        self._phases = [(n, steps, step + 1 if n == name else done) for n, steps, done in self._phases]
        self._tell()

    def phase_finish(self, name: str) -> None:
        self._phases = [phase for phase in self._phases if phase[0] != name]
        self._tell()

    def end(self, note: str) -> None:
        """The build is over: done, stopped or failed, as `note` says."""
        self._phases = []
        self._write(note)
        if sys.stderr.isatty():
            print(file=sys.stderr)

    @property
    def fraction(self) -> float:
        """Of this network, 0 to 1: each phase is one step of the phase around it."""
        inner = 0.0
        for _, steps, done in reversed(self._phases):
            inner = min(1.0, (done + inner) / steps)
        return inner

    def _tell(self, now: bool = False) -> None:
        if not now and self._clock() - self._told < _EVERY:
            return
        self._told = self._clock()
        self._write(None)
        every = _EVERY if sys.stderr.isatty() else _LOG_EVERY
        if now or self._told - self._logged >= every:
            self._logged = self._told
            phase = self._phases[-1][0] if self._phases else "begins"
            seconds = self._told - self._began
            line = f"{self.component}: {100 * self.fraction:3.0f} %  {seconds:4.0f} s  {phase}"
            print(f"\r{line[:79]:<79}" if sys.stderr.isatty() else line, end="" if sys.stderr.isatty() else "\n",
                  file=sys.stderr, flush=True)  # fmt: skip

    def _write(self, note: str | None) -> None:
        """Overwritten in one step, but not synced: it is true only now. A full disk does not stop a build here."""
        told: dict[str, Any] = {
            "component": self.component,
            "number": self._components.index(self.component) + 1 if self.component in self._components else 0,
            "of": len(self._components),
            "fraction": round(self.fraction, 4),
            "phases": [{"name": name, "step": done, "steps": steps} for name, steps, done in self._phases],
            "seconds": round(self._clock() - self._began, 1),
            "pid": os.getpid(),
            "note": note,
        }
        draft = self._path.with_name(f"{self._path.name}.draft")
        try:
            draft.write_text(json.dumps(told))
            draft.rename(self._path)
        except OSError:
            draft.unlink(missing_ok=True)
