"""Starts the box's own processes in milliseconds: everything is imported once here, and each start is a fork.

What it starts are real processes with connections of their own, killed for real. Orders are lines of json on standard
input; each is answered by a pid. All of them die with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import appliance.web  # noqa: F401  imported for the children
import appliance.worker.process as worker
from appliance import failpoints
from appliance.config import Settings
from appliance.engines.faulty import Faulty
from appliance.ladder import ladder
from appliance.web import server
from torture import careless, clocks
from torture.box import end_with_parent


def main() -> None:
    """Serve orders until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them at once
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _live(order)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # here too: it may be killed before it has come to do it itself
        print(pid, flush=True)


def _live(order: dict[str, Any]) -> NoReturn:
    os.setpgid(0, 0)
    end_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    status = 1
    try:
        os.umask(0o077)
        failpoints.die_with_the_group()
        failpoints.arm(order["failpoint"])
        clocks.bend(Path(order["clock"]))
        if order["careless"]:
            careless.promise_too_early()
            careless.trust_the_clock()
        settings = Settings(**order["settings"])
        if order["what"] == "engine":
            worker.run(settings, ladder.unwrapped if order["real"] else lambda _: Faulty(Path(order["orders"])))
        else:
            server.serve(server.plan_of(settings))
        status = 0
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (0, None):
            status = 0
        else:
            traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
