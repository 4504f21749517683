"""Which series of Prometheus a device's record becomes, and how many a device may have.

    ensueno_telemetry_seq{device, session}           its number: gaps show where the samples are kept
    ensueno_info{device, engine, bundle, passport …} from the record's labels; its value is its time, so that the newest
                                                     can be told while an older one has not faded: others join on it
    ensueno_<sample>{device}                         each sample, by the device's own time
    ensueno_event{device, event, kind}               1, when something happened
    ensueno_telemetry_lost{device}                   how many records the device gave up, when it did
    ensueno_clock_offset_seconds{device}             by our time, only for a clock that is not to be believed

In a crowd (more than `CROWD` devices) each device has at most eight: the number, the info, the losses and the five of
`ESSENTIAL`; its events are not written.
"""

from __future__ import annotations

from functools import lru_cache

from mqtt.fleet.remote_write import encode, label, series, stamp
from mqtt.messages import Telemetry

CROWD = 1000  # devices
ESSENTIAL = ("picture_seconds", "jobs_finished_total", "jobs_failed_total", "throttled", "disk_free_bytes")
INFO = ("bundle", "engine", "passport", "version")  # the labels of `ensueno_info`, few values each; `device` is second
EVENT = ("event", "kind")  # the labels of `ensueno_event`
MOST_SAMPLES = 64
OF_THE_RECORD = ("telemetry_seq", "info", "event", "telemetry_lost", "clock_offset_seconds")  # all but the samples


def of(record: Telemetry, crowded: bool) -> list[bytes]:
    """The record's encoded series, each with one sample at the device's time."""
    device, at = label("device", record.device), stamp(record.time)
    found = [_number(record, device)]
    if record.kind == "lost":
        lost = sum(last - first + 1 for first, last in record.lost)
        found.append(series(_name("telemetry_lost") + device, lost, at))
    elif record.kind == "event" and not crowded:
        found.append(_event(record))
    elif record.kind == "sample" and record.labels:
        found.append(series(_info(record, device), record.time, at))
    for name in _chosen(record, crowded):
        found.append(series(_name(name) + device, record.samples[name], at))
    return found


def clock_offset(device: str, offset: float, now: float) -> bytes:
    """How far the device's clock is ahead of ours, in seconds, at our unix time `now`."""
    return encode({"__name__": "ensueno_clock_offset_seconds", "device": device}, offset, now)


def _chosen(record: Telemetry, crowded: bool) -> list[str]:
    if crowded:
        return [name for name in ESSENTIAL if name in record.samples]
    return list(record.samples)[:MOST_SAMPLES]


def _number(record: Telemetry, device: bytes) -> bytes:
    # Records of one moment must not share a sample: each has its place within the hundredth of a second.
    moment = (int(record.time * 100) * 10 + record.seq % 10) / 1000
    labels = _name("telemetry_seq") + device + label("session", record.session)
    return series(labels, record.seq, stamp(moment))


def _info(record: Telemetry, device: bytes) -> bytes:
    labels = record.labels
    known = [_common(name, labels[name]) if name in labels else b"" for name in INFO]
    return b"".join([_name("info"), known[0], device, *known[1:]])


def _event(record: Telemetry) -> bytes:
    said = {name: record.labels[name] for name in EVENT if name in record.labels}
    return encode({"__name__": "ensueno_event", "device": record.device, **said}, 1, record.time)


@lru_cache(4096)
def _name(sample: str) -> bytes:
    return label("__name__", f"ensueno_{sample}")


@lru_cache(4096)
def _common(name: str, value: str) -> bytes:
    return label(name, value)  # engines, bundles and versions are few, whatever the number of devices
