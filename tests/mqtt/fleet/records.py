"""Telemetry records for tests."""

from __future__ import annotations

import json
from typing import Any

NOW = 1_800_000_000.0


def record(seq: int = 1, device: str = "box", session: str = "life", **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "v": 1, "device": device, "session": session, "seq": seq, "time": NOW + seq, "kind": "sample",
        "samples": {"picture_seconds": 0.5}, "labels": {"engine": "onnxruntime"},
    }  # fmt: skip
    return {**body, **fields}


def payload(*records: dict[str, Any]) -> bytes:
    return json.dumps(records[0] if len(records) == 1 else list(records)).encode()
