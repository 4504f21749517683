"""Simulated devices, a real Mosquitto, the collector, a real Prometheus: every sample is there once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mqtt import topics
from mqtt.address import Address
from mqtt.fleet import simulate
from mqtt.fleet.broker import Broker
from mqtt.fleet.collector import GROUP, Collector
from mqtt.fleet.counters import Counters
from mqtt.fleet.forward import Forwarder
from mqtt.fleet.remote_write import Prometheus
from mqtt.fleet.simulate import Device, Fleet
from mqtt.fleet.store import Store
from tests.mqtt.fleet.services import PlainBroker, RealPrometheus, plain_broker
from tests.served import free_port


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[PlainBroker]:
    with plain_broker(tmp_path / "broker", free_port()) as broker:
        yield broker


@contextmanager
def collecting(broker: PlainBroker, folder: Path, name: str = "one") -> Iterator[Collecting]:
    with closing(Store(folder / "collector.db", reserve=0)) as store:
        shared = topics.shared(GROUP, topics.ALL_TELEMETRY)
        with closing(Broker(Address.of(broker.url), f"collector-{name}", [shared])) as connection:
            yield Collecting(Collector(connection, store, counters := Counters()), store, counters, connection)


class Collecting:
    """A collector and what it works with, driven turn by turn."""

    def __init__(self, collector: Collector, store: Store, counters: Counters, broker: Broker) -> None:
        self.collector, self.store, self.counters, self.broker = collector, store, counters, broker

    def until_ready(self) -> None:
        while not self.broker.ready:
            self.collector.turn(0.05)


def fleet_of(broker: PlainBroker, count: int, connections: int = 3) -> Fleet:
    prefix = uuid.uuid4().hex[:8]
    devices = simulate.devices(count, prefix=prefix)
    return Fleet(devices, simulate.connector(Address.of(broker.url), prefix), connections=connections, again=1.0)


def drain(fleet: Fleet, *collectors: Collecting, seconds: float = 60) -> None:
    """Turn everyone until every record is acknowledged."""
    deadline = time.monotonic() + seconds
    while fleet.waiting:
        assert time.monotonic() < deadline, f"{fleet.waiting} records were not acknowledged"
        fleet.turn(0.005)
        for collecting in collectors:
            collecting.collector.turn(0.005)


def forward(collecting: Collecting, prometheus: RealPrometheus) -> None:
    with closing(Prometheus(prometheus.write_url)) as client:
        forwarder = Forwarder(collecting.store, client, collecting.counters)
        while forwarder.turn() == 0.0:
            pass
    assert collecting.store.backlog() == 0


def assert_every_sample_once(
    prometheus: RealPrometheus, devices: dict[str, Device], now: float, seconds: int, spoken: list[float]
) -> None:
    prefix = next(iter(devices)).partition("-")[0]
    for name in ("picture_seconds", "temperature_celsius"):
        found = prometheus.samples(f'ensueno_{name}{{device=~"{prefix}-.*"}}', now, seconds)
        assert set(found) == set(devices)
        for samples in found.values():
            assert [round(at, 3) for at, _ in samples] == pytest.approx(spoken, abs=0.0011)
    numbers = prometheus.samples(f'ensueno_telemetry_seq{{device=~"{prefix}-.*"}}', now + 1, seconds + 1)
    for device in devices.values():
        assert [value for _, value in numbers[device.name]] == [float(seq) for seq in range(1, device.seq + 1)]


def test_ten_hours_without_a_broker_leave_no_gap(
    tmp_path: Path, broker: PlainBroker, real_prometheus: RealPrometheus
) -> None:
    now, hours, every = time.time(), 10, 60.0
    with collecting(broker, tmp_path) as one, closing(fleet_of(broker, 5)) as fleet:
        one.until_ready()
        spoken = [now - 36_100]
        for device in fleet.devices.values():
            device.say(spoken[0])
        drain(fleet, one)
        broker.stop()
        simulate.past(fleet, hours, every, now)
        spoken += [now - hours * 3600 + step * every for step in range(int(hours * 3600 / every))]
        fleet.turn()
        broker.start()
        drain(fleet, one)
        forward(one, real_prometheus)
        assert one.counters.value("records_total", outcome="fresh") == len(spoken) * 5
        assert one.store.missing() == 0
        assert_every_sample_once(real_prometheus, fleet.devices, now, 36_200, spoken)


def test_a_broker_whose_name_cannot_be_is_trouble_and_no_end() -> None:
    address = replace(Address.of("mqtt://broker.example"), host=f"{'x' * 64}.example")
    with closing(Broker(address, "one")) as connection:
        assert connection.receive(1, 0.01) == []
        assert not connection.ready
        assert connection.trouble is not None
        assert connection.trouble != "not connected yet"
