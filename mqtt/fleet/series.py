"""Which series of Prometheus a device's record becomes, and how many a device may have.

    ensueno_telemetry_seq{device, session}           its number: gaps show where the samples are kept
    ensueno_info{device, engine, bundle, passport …} from the record's labels; its value is its time, so that the newest
                                                     can be told while an older one has not faded: others join on it
    ensueno_<sample>{device}                         each sample, by the device's own time
    ensueno_event{device, event, kind}               1, when something happened
    ensueno_telemetry_lost{device}                   how many records the device gave up, when it did
    ensueno_clock_offset_seconds{device}             by our time, only for a clock that is not to be believed

In a crowd (more than `CROWD` devices) each device has at most eight: the number, the info, the losses and the five of
`ESSENTIAL`; its events and its clock are not written. A sample that is not `KNOWN` is written nowhere: a device chooses
no names. What it does choose, its session and its labels, the store bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import get_args
from zlib import crc32

from mqtt.fleet.remote_write import encode, label, series, stamp
from mqtt.messages import Reason, Telemetry

CROWD = 1000  # devices
ESSENTIAL = ("picture_seconds", "jobs_finished_total", "jobs_failed_total", "throttled", "disk_free_bytes")
INFO = ("bundle", "engine", "passport", "version")  # the labels of `ensueno_info`, few values each; `device` is second
EVENT = ("event", "kind")  # the labels of `ensueno_event`
OF_THE_RECORD = ("telemetry_seq", "info", "event", "telemetry_lost", "clock_offset_seconds")  # all but the samples
KNOWN = frozenset(  # the samples that boxes tell (mqtt/telemetry.py, mqtt/link.py)
    {
        *ESSENTIAL, "answers_open", "engine_pictures", "engine_up", "gpu_load_ratio",
        "jobs_cancelled_total", "jobs_expired_total", "jobs_queued", "jobs_refused_total", "jobs_running",
        "joules_per_picture", "link_connections_total", "link_doubles_total", "memory_free_bytes", "outbox_bytes",
        "outbox_records", "outbox_sent_again_total", "parked_seconds_total", "picture_check_seconds",
        "pool_doubles_total", "power_watts", "step_seconds", "store_seconds", "telemetry_unstored_total",
        "temperature_celsius", "text_encoder_seconds", "trouble", "vae_decoder_seconds",
        *(f"jobs_refused_{reason}_total" for reason in get_args(Reason)),
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record's series, each with one sample. `labelled`: those whose labels the device chose, by a mark of these."""

    plain: list[bytes]
    labelled: list[tuple[int, bytes]]


def of(record: Telemetry, crowded: bool) -> Encoded:
    """The record's encoded series, each with one sample at the device's time."""
    device, at = label("device", record.device), stamp(record.time)
    plain, labelled = [_number(record, device)], []
    if record.kind == "lost":
        lost = sum(last - first + 1 for first, last in record.lost)
        plain.append(series(_name("telemetry_lost") + device, lost, at))
    elif record.kind == "event" and not crowded:
        labels = _event(record, device)
        labelled.append((crc32(labels), series(labels, 1, at)))
    elif record.kind == "sample" and record.labels:
        labels = _info(record, device)
        labelled.append((crc32(labels), series(labels, record.time, at)))
    for name in ESSENTIAL if crowded else record.samples:
        if name in record.samples and name in KNOWN:
            plain.append(series(_name(name) + device, record.samples[name], at))
    return Encoded(plain, labelled)


def strange(record: Telemetry) -> bool:
    """Whether it has samples that nobody knows."""
    return not KNOWN.issuperset(record.samples)


def clock_offset(device: str, offset: float, now: float) -> bytes:
    """How far the device's clock is ahead of ours, in seconds, at our unix time `now`."""
    return encode({"__name__": "ensueno_clock_offset_seconds", "device": device}, offset, now)


def _number(record: Telemetry, device: bytes) -> bytes:
    # Records of one moment must not share a sample: each has its place within the hundredth of a second.
    moment = (int(record.time * 100) * 10 + record.seq % 10) / 1000
    labels = _name("telemetry_seq") + device + label("session", record.session)
    return series(labels, record.seq, stamp(moment))


def _info(record: Telemetry, device: bytes) -> bytes:
    labels = record.labels
    known = [_common(name, labels[name]) if name in labels else b"" for name in INFO]
    return b"".join([_name("info"), known[0], device, *known[1:]])


def _event(record: Telemetry, device: bytes) -> bytes:
    said = [label(name, record.labels[name]) for name in EVENT if name in record.labels]
    return b"".join([_name("event"), device, *said])


@lru_cache(4096)
def _name(sample: str) -> bytes:
    return label("__name__", f"ensueno_{sample}")


@lru_cache(4096)
def _common(name: str, value: str) -> bytes:
    return label(name, value)  # engines, bundles and versions are few, whatever the number of devices
