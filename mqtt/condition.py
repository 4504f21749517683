"""How the box is, as far as work for a pool is concerned."""

from __future__ import annotations

import time
from collections.abc import Callable

from appliance.device.health import Health
from appliance.progress import Board, engine_alive

HOT = ("hot", "throttled", "warm")  # no more work, though the box goes on with what it has
_FRESH = 1.0  # seconds that a look at the sensors counts


class Condition:
    """The box's health, looked at no more than once in `_FRESH` seconds, and whether it can take a pool's job."""

    def __init__(self, board: Board, look: Callable[[], Health]) -> None:
        self._board = board
        self._look = look
        self._seen = float("-inf")
        self._health: Health | None = None

    def health(self) -> Health:
        now = time.monotonic()
        if self._health is None or now - self._seen >= _FRESH:
            self._health, self._seen = self._look(), now
        return self._health

    def unable(self) -> str | None:
        """Why it can take none now, in one sentence; None when it can."""
        pulse = self._board.pulse()
        if pulse is None or not engine_alive(pulse) or pulse.pictures < 1:
            return "The engine of this box does not draw now: another box may."
        troubles = self.health().troubles
        return next((one.sentence for one in troubles if one.level == "bad" or one.kind in HOT), None)
