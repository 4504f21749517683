"""Wakes a thread that waits in `poll` from another one, by an eventfd."""

from __future__ import annotations

import os


class Waker:
    """`wake` from any thread; poll `fileno()`, then `clear`."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def wake(self) -> None:
        os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return
