"""What the requesters were told, in the order they were told it: lines of json that outlive the harness."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class History:
    """An append-only file; each line is there before the next thing happens."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, **more: Any) -> None:
        """Add a line."""
        line = json.dumps({"what": what, **more}, ensure_ascii=False) + "\n"
        with self._lock:
            os.write(self._file, line.encode())

    def lines(self) -> Iterator[dict[str, Any]]:
        """All lines so far; one that a killed harness left half written is passed over."""
        for line in self._path.read_text("utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def count(self, what: str) -> int:
        """How many lines say this."""
        return sum(line["what"] == what for line in self.lines())

    def close(self) -> None:
        """No more is written."""
        os.close(self._file)
