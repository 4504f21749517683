"""`python -m tests.deploy.plot docs/fleet-dashboards.webp`: every panel's query as the tests' Prometheus answers it.

What the panels ask, drawn plainly; not how Grafana would show it.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from tests.deploy.test_dashboards import expressions, filled_in
from tests.mqtt.fleet.services import RealPrometheus

HOURS = 6
_WIDE, _HIGH, _COLUMNS, _HEAD = 300, 130, 5, 18
_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
_ROWS = 7
Series = list[dict[str, Any]]


def main(out: Path) -> None:
    """Fill a Prometheus, ask it, draw."""
    panels: dict[str, list[tuple[str, Series]]] = {}
    with tempfile.TemporaryDirectory() as folder, filled_in(Path(folder)) as (real, now):
        for name, kind, expression in expressions():
            panels.setdefault(name.rpartition(" ")[0], []).append((kind, _asked(real, now, kind, expression)))
    rows = math.ceil(len(panels) / _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _WIDE, rows * _HIGH), "white")
    for place, (title, found) in enumerate(panels.items()):
        sheet.paste(_panel(title, found), (place % _COLUMNS * _WIDE, place // _COLUMNS * _HIGH))
    sheet.save(out, quality=60)


def _asked(real: RealPrometheus, now: float, kind: str, expression: str) -> Series:
    if kind == "timeseries":
        return real.query_range(expression, now - HOURS * 3600, now, 120)
    return real.query(expression, now)


def _panel(title: str, found: Sequence[tuple[str, Series]]) -> Image.Image:
    panel = Image.new("RGB", (_WIDE, _HIGH), "white")
    draw = ImageDraw.Draw(panel)
    draw.rectangle((2, 2, _WIDE - 3, _HIGH - 3), outline="#cbd5e1")
    draw.text((8, 4), title[:48], fill="#0f172a")
    lines = [one for kind, series in found if kind == "timeseries" for one in series]
    if lines:
        _lines(draw, lines)
    else:
        _words(draw, [one for _, series in found for one in series])
    return panel


def _lines(draw: ImageDraw.ImageDraw, lines: Series) -> None:
    points = [[(time, float(value)) for time, value in one["values"] if value != "NaN"] for one in lines]
    flat = [point for line in points for point in line if math.isfinite(point[1])]
    if not flat:
        return
    first, last = min(time for time, _ in flat), max(time for time, _ in flat)
    low, high = min(value for _, value in flat), max(value for _, value in flat)
    for index, line in enumerate(points):
        places = [
            (8 + (time - first) / max(last - first, 1) * (_WIDE - 60),
             _HIGH - 10 - (value - low) / max(high - low, 1e-9) * (_HIGH - _HEAD - 18))
            for time, value in line if math.isfinite(value)
        ]  # fmt: skip
        if len(places) > 1:
            draw.line(places, fill=_COLOURS[index % len(_COLOURS)])
    draw.text((_WIDE - 50, _HEAD), f"{high:.3g}", fill="#475569")
    draw.text((_WIDE - 50, _HIGH - 18), f"{low:.3g}", fill="#475569")
    draw.text((_WIDE - 50, _HIGH // 2), f"{len(lines)} lines", fill="#94a3b8")


def _words(draw: ImageDraw.ImageDraw, values: Series) -> None:
    for row, one in enumerate(values[:_ROWS]):
        labels = " ".join(value for name, value in sorted(one["metric"].items()) if name not in ("__name__", "job"))
        draw.text((8, _HEAD + 4 + 14 * row), labels[:34], fill="#475569")
        draw.text((_WIDE - 70, _HEAD + 4 + 14 * row), f"{float(one['value'][1]):.4g}", fill="#0f172a")
    if len(values) > _ROWS:
        draw.text((8, _HEAD + 4 + 14 * _ROWS), f"... {len(values)} in all", fill="#94a3b8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
