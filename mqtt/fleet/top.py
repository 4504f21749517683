"""The fleet as a table in the terminal, the worst first, from Prometheus: one source for graphs, alerts and this."""

from __future__ import annotations

import http.client
import json
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from appliance.errors import Unavailable
from mqtt.fleet.web_address import checked

SILENT = 300.0  # seconds
_INFO = "topk by (device) (1, last_over_time(ensueno_info[1d]))"
_SEEN = (  # the second is a rule of deploy/prometheus/alerts.yml: whoever spoke within 30 days
    "max by (device) (timestamp(ensueno_telemetry_seq)) or last_over_time(device:ensueno_telemetry_seq:seen[1d])"
)
_NAMES = ("picture_seconds", "jobs_queued", "jobs_failed_total", "temperature_celsius", "throttled", "power_watts")
_SAMPLES = '{__name__=~"ensueno_(' + "|".join(_NAMES) + ')"}'
_COLUMNS = ("device", "seen", "engine", "bundle", "s/picture", "queue", "failed", "°C", "W", "what is wrong")
_CLEAR = "\x1b[H\x1b[J"


@dataclass(slots=True)
class Row:
    """What is known of one device."""

    device: str
    seen: float = 0.0  # unix seconds of its newest record
    labels: dict[str, str] = field(default_factory=dict)
    samples: dict[str, float] = field(default_factory=dict)

    def troubles(self, now: float) -> list[str]:
        """What is wrong, in few words."""
        found = []
        if now - self.seen > SILENT:
            found.append("silent")
        if self.labels.get("passport") in ("mismatch", "missing"):
            found.append("passport")
        if self.samples.get("throttled"):
            found.append("throttled")
        return found


def show(url: str, most: int, every: float | None) -> None:
    """Print the table, again after `every` seconds until stopped; once when None. Raises `Unavailable`, `BadInput`."""
    while True:
        text = table(rows(url), time.time(), most)
        if every is None:
            print(text)
            return
        sys.stdout.write(f"{_CLEAR}{text}\n")
        sys.stdout.flush()
        time.sleep(every)


def rows(url: str) -> list[Row]:
    """The newest of each device; one that fell silent is known for 30 days. Raises `Unavailable`, `BadInput`."""
    found: dict[str, Row] = {}
    for metric, _ in _ask(url, _INFO):
        found[metric["device"]] = Row(metric["device"], labels=metric)
    for metric, at in _ask(url, _SEEN):
        found.setdefault(metric["device"], Row(metric["device"])).seen = at
    for metric, value in _ask(url, _SAMPLES):
        row = found.setdefault(metric["device"], Row(metric["device"]))
        row.samples[metric["__name__"].removeprefix("ensueno_")] = value
    return list(found.values())


def table(found: list[Row], now: float, most: int) -> str:
    """The table as text: devices in trouble first, then by name."""
    found = sorted(found, key=lambda row: (-len(row.troubles(now)), row.device))
    troubled = sum(bool(row.troubles(now)) for row in found)
    lines = [_cells(row, now) for row in found[:most]]
    widths = [max(len(line[index]) for line in [_COLUMNS, *lines]) for index in range(len(_COLUMNS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in [_COLUMNS, *lines]]  # fmt: skip
    return "\n".join([f"{len(found)} devices, {troubled} in trouble", *text])


def _cells(row: Row, now: float) -> list[str]:
    def number(name: str, places: int) -> str:
        return f"{row.samples[name]:.{places}f}" if name in row.samples else "-"

    seen = f"{max(now - row.seen, 0):.0f} s" if row.seen else "> 5 min"
    return [
        row.device, seen, row.labels.get("engine", "-"), row.labels.get("bundle", "-"), number("picture_seconds", 2),
        number("jobs_queued", 0), number("jobs_failed_total", 0), number("temperature_celsius", 0),
        number("power_watts", 0), ", ".join(row.troubles(now)),
    ]  # fmt: skip


def _ask(url: str, expression: str) -> list[tuple[dict[str, str], float]]:
    """An instant query: each series' labels and value."""
    checked(url, "give --prometheus http://HOST:9090")
    data = urllib.parse.urlencode({"query": expression}).encode()
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/api/v1/query", data, timeout=30) as answer:  # noqa: S310
            found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise Unavailable(f"Prometheus at {url} does not answer as one ({error}): check --prometheus.") from None
    return [(series["metric"], float(series["value"][1])) for series in found]
