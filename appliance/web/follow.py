"""The web speaks for one bundle: when another becomes the active one it ends, and is started again with that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from appliance.bundles.slots import Slots

EVERY = 1.0  # seconds


def begin(data_dir: Path, end: Callable[[], None]) -> threading.Event:
    """Look in a thread of its own until another bundle is active, and then `end`; or until the event is set."""
    watch, over = Slots(data_dir).watch(), threading.Event()

    def look_on() -> None:
        while not over.wait(EVERY):
            if watch.moved():
                end()
                return

    threading.Thread(target=look_on, name="follow", daemon=True).start()
    return over
