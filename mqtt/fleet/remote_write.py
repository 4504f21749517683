"""Prometheus remote write 1.0: three protobuf messages, written by hand, compressed with snappy, sent over HTTP.

    WriteRequest { repeated TimeSeries timeseries = 1; }
    TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; }
    Label { string name = 1; string value = 2; }        Sample { double value = 1; int64 timestamp = 2; }  # ms

A request is nothing but its time series one after the other, so encoded series can lie on the disk and be joined
later: `encode` makes one, `split` takes a request apart again, `Prometheus.write` sends any number of them.
"""

from __future__ import annotations

import http.client
import struct
from collections.abc import Iterator, Mapping

import cramjam

from appliance.errors import EnsuenoError, Unavailable
from mqtt.fleet.web_address import checked

_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": "ensueno-collector",
}
_DOUBLE = struct.Struct("<d").pack
_OF_AGE = ("too old sample", "out of bounds")
_REFUSALS = (*_OF_AGE, "out of order", "duplicate sample")


class Refused(EnsuenoError):  # noqa: N818  as appliance/errors.py names them
    """Prometheus will never take this request: one of its samples is bad, or all of them are too much at once."""

    title = "Refused by Prometheus"

    @property
    def of_age(self) -> bool:
        """Whether a sample is too old: then so is every older one."""
        return any(mark in str(self) for mark in _OF_AGE) and "future" not in str(self)


def encode(labels: Mapping[str, str], value: float, time: float) -> bytes:
    """One series with one sample as a field of a WriteRequest. `labels` hold `__name__`; `time` in unix seconds."""
    body = b"".join([label(name, labels[name]) for name in sorted(labels)])
    return series(body, value, stamp(time))


def series(labels: bytes, value: float, stamped: bytes) -> bytes:
    """As `encode`, from labels that are encoded already, in the order of their names, and a `stamp`."""
    return _field(0x0A, b"%b\x12%c\x09%b%b" % (labels, 9 + len(stamped), _DOUBLE(value), stamped))


def stamp(time: float) -> bytes:
    """A sample's time, encoded: unix seconds → milliseconds."""
    return b"\x10" + _varint(round(time * 1000))


def label(name: str, value: str) -> bytes:
    """One label of a TimeSeries, encoded."""
    return _field(0x0A, _field(0x0A, name.encode()) + _field(0x12, value.encode()))


def split(request: bytes) -> Iterator[bytes]:
    """The encoded series that a request is made of. Raises `ValueError` when it is none."""
    start = 0
    while start < len(request):
        if request[start] != 0x0A:
            raise ValueError("not a write request")
        size, body = _read_varint(request, start + 1)
        if body + size > len(request):
            raise ValueError("a write request that was cut off")
        yield request[start : body + size]
        start = body + size


def time_of(encoded: bytes) -> int:
    """When an encoded series' first sample was taken, in milliseconds after 1970. Raises `ValueError` without one."""
    _, at = _read_varint(encoded, 1)
    while at < len(encoded):
        tag, (size, at) = encoded[at], _read_varint(encoded, at + 1)
        if tag == 0x12:
            return _read_varint(encoded, at + 10)[0]  # behind the value (1 + 8 bytes) and the time's own tag
        at += size
    raise ValueError("a series without a sample")


class Prometheus:
    """A Prometheus that takes remote writes. `url` like http://localhost:9090/api/v1/write; one connection, kept."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        parts = checked(url, "give one to write to, like http://localhost:9090/api/v1/write")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout)
        self._path = parts.path or "/api/v1/write"

    def write(self, request: bytes) -> None:
        """Send encoded series. Raises `Refused` (never send it again) or `Unavailable` (send it again later)."""
        body = bytes(cramjam.snappy.compress_raw(request))
        try:
            self._connection.request("POST", self._path, body, _HEADERS)
            answer = self._connection.getresponse()
            reason = answer.read(4096)
        except (OSError, UnicodeError, http.client.HTTPException) as error:  # UnicodeError: a part of a name too long
            self._connection.close()
            problem = str(error) or type(error).__name__
            raise Unavailable(f"Prometheus cannot be reached ({problem}): check --prometheus.") from None
        if answer.status // 100 == 2:
            return
        text = reason.decode("utf-8", "replace").strip()
        # Some releases say 500 where they mean: never.
        never = answer.status // 100 == 4 and answer.status != 429
        if (never and answer.status not in (401, 403, 404)) or any(mark in text for mark in _REFUSALS):
            raise Refused(text or str(answer.status))
        told = f"{answer.status}: {text}" if text else answer.status
        raise Unavailable(f"Prometheus takes nothing ({told}): look at its log and at --prometheus.")

    def close(self) -> None:
        self._connection.close()


def _field(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    return bytes((tag,)) + _varint(size) + body


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # negative times are written as two's complement
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    raise ValueError("a write request that was cut off")
