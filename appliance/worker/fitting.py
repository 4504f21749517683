"""Asks for the plans that the engine lacks, once nobody waits: building them parks the queue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from appliance.plans import wanted

log = logging.getLogger(__name__)

QUIET = 60.0  # seconds without a picture to draw


class Fitting:
    """Told of every turn; asks at most once in a process. `lacking` None: there is nothing to ask for."""

    def __init__(
        self, data_dir: Path, lacking: wanted.Wanted | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._data_dir = data_dir
        self._lacking = lacking
        self._clock = clock
        self._worked = clock()

    def turned(self, busy: bool) -> None:
        """One turn is over."""
        if busy:
            self._worked = self._clock()
        if self._lacking is None or self._clock() - self._worked < QUIET:
            return
        lacking, self._lacking = self._lacking, None
        if wanted.ask(self._data_dir, lacking):
            log.info("asked for plans", extra={"target": lacking.target})
        else:
            log.warning("plans were not asked for, since their builds came to nothing: build them by hand to see why")
