"""Named points at which a process can be told to die, as by kill -9: `ENSUENO_FAILPOINT=finish.committed:3`.

The number says at which passing (1, the first, when it is left out). Nobody sets it but `scripts/torture` and tests;
unarmed, a point costs one comparison.
"""

from __future__ import annotations

import os
import signal


def arm(order: str | None) -> None:
    """Die at this point of the present process; None disarms."""
    global _name, _left
    name, _, number = (order or "").partition(":")
    _name, _left = name or None, int(number or 1)


def reached(name: str) -> None:
    """The process is at the point `name`."""
    global _left
    if _name is None or name != _name:
        return
    _left -= 1
    if _left == 0:
        die()


def _alone() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _with_its_group() -> None:
    os.killpg(0, signal.SIGKILL)


def die_with_the_group() -> None:
    """From now on the whole process group dies at the point: a process and the children that work for it."""
    global die
    die = _with_its_group


die = _alone
_name: str | None = None
_left = 1
arm(os.environ.get("ENSUENO_FAILPOINT"))
