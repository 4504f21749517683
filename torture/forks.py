"""Processes that can be killed alone: forks of this one, which has imported everything and runs no thread."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from appliance import failpoints


class Fork:
    """`live` is run in a process of its own; what it prints goes to `log`."""

    def __init__(self, name: str, live: Callable[[], object], log: Path) -> None:
        self.name = name
        self.starts = 0
        self.status: int | None = None  # of the last life that ended
        self._live = live
        self._log = log
        self._pid = 0

    def start(self, failpoint: str | None = None) -> None:
        """Begin a life; with a failpoint it dies there."""
        self.starts += 1
        self._pid = os.fork()
        if self._pid == 0:
            self._be(failpoint)

    def keep(self) -> None:
        """Start it where it does not run, as a supervisor would."""
        if not self.alive():
            self.start()

    def alive(self) -> bool:
        """Whether it runs; one that ended is buried."""
        if self._pid:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid, self.status = 0, os.waitstatus_to_exitcode(status)
        return self._pid != 0

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end in good order, and wait."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.alive():
            os.kill(self._pid, how)
            deadline = time.monotonic() + 30
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.005)
            if self.alive():
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                self._pid = 0

    def _be(self, failpoint: str | None) -> None:
        status = 1
        try:
            os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for stream in (1, 2):
                os.dup2(file, stream)
            os.umask(0o077)
            failpoints.arm(failpoint)
            self._live()
            status = 0
        except BaseException as error:
            if isinstance(error, SystemExit) and error.code in (0, None):
                status = 0
            else:
                with contextlib.suppress(OSError):
                    traceback.print_exc()
        finally:
            os._exit(status)
