"""The hand-written remote write, held to a real Prometheus."""

from __future__ import annotations

import math
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import BadInput, Unavailable
from mqtt.fleet.remote_write import Prometheus, Refused, encode, split, time_of
from tests.mqtt.fleet.services import RealPrometheus


@pytest.fixture
def client(real_prometheus: RealPrometheus) -> Iterator[Prometheus]:
    with closing(Prometheus(real_prometheus.write_url)) as client:
        yield client


VALUES = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


def test_one_sample_is_encoded_as_the_protobuf_encoding_says() -> None:
    name, device = b"\x0a\x10\x0a\x08__name__\x12\x04seqs", b"\x0a\x0b\x0a\x06device\x12\x01a"
    sample = b"\x12\x0c\x09" + struct.pack("<d", 1.5) + b"\x10\xd8\x04"
    body = name + device + sample
    assert encode({"device": "a", "__name__": "seqs"}, 1.5, 0.6) == b"\x0a" + bytes([len(body)]) + body


@given(st.lists(st.tuples(TEXTS, VALUES, st.floats(-1e9, 1e10))))
def test_a_request_comes_apart_into_the_series_it_was_joined_from(samples: list[tuple[str, float, float]]) -> None:
    series = [encode({"__name__": "m", "device": device}, value, at) for device, value, at in samples]
    assert list(split(b"".join(series))) == series


@given(TEXTS, st.integers(0, 10**13))
def test_the_time_of_an_encoded_series_is_told(device: str, milliseconds: int) -> None:
    encoded = encode({"__name__": "m", "device": device}, 1.5, milliseconds / 1000)
    assert time_of(encoded) == round(milliseconds / 1000 * 1000)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_request_are_refused_or_split_without_loss(data: bytes) -> None:
    try:
        parts = list(split(data))
    except ValueError:
        return
    assert b"".join(parts) == data


@settings(max_examples=15)
@given(values=st.lists(VALUES, min_size=1, max_size=20), text=TEXTS)
def test_what_is_written_is_what_a_real_prometheus_tells(
    real_prometheus: RealPrometheus, client: Prometheus, values: list[float], text: str
) -> None:
    device, now = uuid.uuid4().hex, time.time()
    times = [round(now - 60 + index, 3) for index in range(len(values))]
    labels = {"__name__": "written", "device": device, "words": text}
    request = b"".join(encode(labels, value, at) for value, at in zip(values, times, strict=True))
    client.write(request)
    (series,) = real_prometheus.query(f'written{{device="{device}"}}[90s]', now)
    assert series["metric"]["words"] == text
    assert [at for at, _ in series["values"]] == times
    assert all(
        float(told) == value or math.isclose(float(told), value)
        for (_, told), value in zip(series["values"], values, strict=True)
    )


def test_the_same_sample_again_is_the_same_sample(real_prometheus: RealPrometheus, client: Prometheus) -> None:
    device, now = uuid.uuid4().hex, time.time()
    late = [encode({"__name__": "again", "device": device}, float(age), now - age) for age in range(3600, 0, -60)]
    client.write(late[-1])
    client.write(b"".join(late))  # late and out of order, as a backlog comes
    client.write(b"".join(reversed(late)))
    assert len(real_prometheus.samples(f'again{{device="{device}"}}', now, 7200)[device]) == 60


def test_a_sample_that_is_too_old_is_refused_for_ever(client: Prometheus) -> None:
    device = uuid.uuid4().hex
    client.write(encode({"__name__": "old", "device": device}, 1.0, time.time()))
    with pytest.raises(Refused, match=r"too old|out of"):
        client.write(encode({"__name__": "old", "device": device}, 1.0, time.time() - 366 * 86400))


@pytest.mark.parametrize("host", ["127.0.0.1:1", "x" * 64 + ".example"])
def test_a_prometheus_that_is_not_there_is_asked_again_later(host: str) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        Prometheus(f"http://{host}/api/v1/write").write(b"")


@pytest.mark.parametrize(
    "url", ["localhost:9090", "ftp://x/", "http://", "http://localhost:abc/", "http://a b/", "http://[x/", "http://x/ñ"]
)
def test_an_address_that_is_none_is_bad_input(url: str) -> None:
    with pytest.raises(BadInput, match="give one to write to"):
        Prometheus(url)
