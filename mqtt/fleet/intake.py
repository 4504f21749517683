"""Bytes from a device → readings that may be kept, and refusals with their reason. Nothing raises; all is counted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from appliance.errors import BadInput
from mqtt import topics
from mqtt.fleet import series
from mqtt.fleet.store import Reading, Refusal
from mqtt.messages import MAX_TELEMETRY, Telemetry, WrongVersion, read_json, read_telemetry

WINDOW = 7 * 86_400.0  # seconds; Prometheus' out_of_order_time_window in deploy/ is a little longer
AHEAD = 600.0  # seconds a device's clock may be ahead; one sample a year ahead would shut Prometheus' window for all
_QUICK: TypeAdapter[Telemetry | list[Telemetry]] = TypeAdapter(Telemetry | list[Telemetry])  # most are good
REASONS = ("topic", "too_large", "bad_input", "version", "identity", "clock", "sample")


@dataclass(slots=True)
class Taken:
    """What a message, or several, came to."""

    readings: list[Reading] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def take(topic: str, payload: bytes, now: float, crowded: bool, taken: Taken) -> None:
    """Read one message into `taken`. `now`: our unix seconds; `crowded`: bound the series of each device."""
    device = topics.device_of(topic)
    if device is None or topic != topics.telemetry(device):
        taken.refusals.append(Refusal("topic", topic, payload))
        return
    records, reasons = _records(payload)
    for record in records:
        if record.device != device:
            reasons.append("identity")
            continue
        believed = now - WINDOW <= record.time <= now + AHEAD
        if not believed:
            reasons.append("clock")
        if series.strange(record):
            reasons.append("sample")
        taken.readings.append(_believed(record, crowded) if believed else _doubted(record, now, crowded))
    taken.refusals += [Refusal(reason, topic, payload) for reason in dict.fromkeys(reasons)]


def _records(payload: bytes) -> tuple[list[Telemetry], list[str]]:
    """The records that can be read, and why others cannot. One bad record does not take its neighbours with it."""
    if len(payload) > MAX_TELEMETRY:
        return [], ["too_large"]
    try:
        found = _QUICK.validate_json(payload)
        return found if isinstance(found, list) else [found], []
    except ValidationError:
        return _sorted_out(payload)


def _sorted_out(payload: bytes) -> tuple[list[Telemetry], list[str]]:
    try:
        return read_telemetry(payload), []
    except BadInput as error:
        reason = "version" if isinstance(error, WrongVersion) else "bad_input"
    records, reasons = [], [reason]
    for part in _parts(payload):
        try:
            records += read_telemetry(json.dumps(part).encode())
        except BadInput as error:
            reasons.append("version" if isinstance(error, WrongVersion) else "bad_input")
    return records, reasons


def _parts(payload: bytes) -> list[Any]:
    try:
        value = read_json(payload, MAX_TELEMETRY)
    except BadInput:
        return []
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _believed(record: Telemetry, crowded: bool) -> Reading:
    found = series.of(record, crowded)
    return Reading(
        record.device, record.session, record.seq, record.time, b"".join(found.plain), len(found.plain),
        list(record.lost), found.labelled,
    )  # fmt: skip


def _doubted(record: Telemetry, now: float, crowded: bool) -> Reading:
    """Kept aside and acknowledged, so that the device does not send it for ever; Prometheus hears of the clock."""
    told = [] if crowded else [series.clock_offset(record.device, record.time - now, now)]
    return Reading(record.device, record.session, record.seq, None, b"".join(told), len(told), list(record.lost))
