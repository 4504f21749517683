"""From the spool to Prometheus: in order, again after a fault, and never stopped by one bad sample."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import Unavailable
from mqtt.fleet.counters import Counters
from mqtt.fleet.forward import PAUSE, Forwarder
from mqtt.fleet.remote_write import Prometheus, encode
from mqtt.fleet.store import Reading, Store
from tests.mqtt.fleet.services import RealPrometheus, prometheus
from tests.served import free_port


def reading(device: str, seq: int, at: float) -> Reading:
    return Reading(device, "life", seq, at, encode({"__name__": "sent", "device": device}, seq, at), 1)


def test_one_bad_sample_does_not_hold_back_the_others(tmp_path: Path, real_prometheus: RealPrometheus) -> None:
    device, now, counters = uuid.uuid4().hex, time.time(), Counters()
    with (
        closing(Store(tmp_path / "x.db", reserve=0)) as store,
        closing(Prometheus(real_prometheus.write_url)) as client,
    ):
        store.keep([reading(device, 1, now)])
        Forwarder(store, client, counters).turn()
        late = [reading(device, 2 + n, now - 60 * n) for n in range(1, 8)]
        store.keep([*late[:4], reading(device, 99, now - 400 * 86_400), *late[4:]])
        Forwarder(store, client, counters).turn()
        assert store.backlog() == 0
        assert [refusal.reason for refusal in store.aside()] == ["prometheus"]
    assert counters.value("refused_total", reason="prometheus") == 1
    assert counters.value("samples_written_total") == 8
    assert len(real_prometheus.samples(f'sent{{device="{device}"}}', now + 1, 3600)[device]) == 8


def test_what_prometheus_missed_while_it_was_away_is_sent_when_it_is_back(tmp_path: Path) -> None:
    now, counters, port = time.time(), Counters(), free_port()
    with (
        closing(Store(tmp_path / "x.db", reserve=0)) as store,
        closing(Prometheus(f"http://127.0.0.1:{port}/api/v1/write")) as client,
    ):
        forwarder = Forwarder(store, client, counters)
        store.keep([reading("away", 1, now)])
        assert forwarder.turn() > PAUSE[0]
        assert counters.value("waits_total", reason="Unavailable") == 1
        assert store.backlog() == 1
        with prometheus(tmp_path / "prometheus", port) as real:
            assert forwarder.turn() == 0.0
            assert real.samples("sent", now + 1, 60) == {"away": [(round(now, 3), 1.0)]}


def test_a_prometheus_that_says_wait_is_waited_for() -> None:
    with closing(Prometheus(f"http://127.0.0.1:{free_port()}")) as client, pytest.raises(Unavailable):
        client.write(b"")
