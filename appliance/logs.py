"""The log: one json object a line on standard output, for journald and whoever reads it; on a terminal, sentences.

Every line has `time` (RFC 3339, UTC), `level`, `process` and `event`; what happens to a job has `job`. No prompt, no
picture and no secret is ever logged.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import TextIO

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """`log.info("finished", extra={"job": id, "seconds": 1.5})` → {"time": …, "event": "finished", "job": …}."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def begin(process: str, stream: TextIO | None = None) -> None:
    """Set the log of this process up, once: json from level info on, or on a terminal sentences from warning on."""
    stream = stream or sys.stdout
    handler = logging.StreamHandler(stream)
    terminal = stream.isatty()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s") if terminal else JsonLines(process))
    logging.basicConfig(level=logging.WARNING if terminal else logging.INFO, handlers=[handler], force=True)
