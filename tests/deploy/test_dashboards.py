"""Every panel of every dashboard, asked of a real Prometheus that the simulator has filled: it tells something."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mqtt import topics
from mqtt.fleet import series, simulate
from mqtt.fleet.collector import Collector
from mqtt.fleet.counters import Counters
from mqtt.fleet.exposition import served
from mqtt.fleet.forward import Forwarder
from mqtt.fleet.remote_write import Prometheus
from mqtt.fleet.simulate import Device
from mqtt.fleet.store import Store
from tests.mqtt.fleet.fake_post import FakePost
from tests.mqtt.fleet.services import DEPLOY, RealPrometheus, prometheus
from tests.served import until

DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
HOURS, EVERY, DEVICES = 26, 270.0, 12


def expressions() -> Iterator[tuple[str, str, str]]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                name = f"{path.stem}: {panel['title']} {target['refId']}"
                yield name, panel["type"], target["expr"].replace("$device", "sim-000001")


def fleet_of_the_last_day(now: float) -> list[Device]:
    """Devices as `simulate` makes them; one fell silent, one lost records, one misses some, one has a wrong clock."""
    devices = simulate.devices(DEVICES)
    for step in range(int(HOURS * 3600 / EVERY)):
        at = now - HOURS * 3600 + step * EVERY
        for device in devices:
            if device.number != 2 or at < now - 1800:
                device.say(at)
    for device in devices:
        if device.number != 2:
            device.say(now - 1)
            device.say(now - 30, "event", labels={"event": "trouble", "kind": "hot"})
    devices[3].seq += 5  # gave up five records
    devices[3].say(now - 20, "lost", lost=[[devices[3].seq - 4, devices[3].seq]], count=5)
    del devices[4].outbox[devices[4].seq - 3]
    devices[5].say(now + 86_400 * 365)
    return devices


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealPrometheus, float]]:
    with filled_in(tmp_path_factory.mktemp("filled")) as found:
        yield found


@contextmanager
def filled_in(folder: Path) -> Iterator[tuple[RealPrometheus, float]]:
    """A real Prometheus with a day of the simulated fleet in it, and now."""
    counters, now = Counters(), time.time()
    with served("127.0.0.1:0", counters.text, lambda: None) as port:
        scrape = f"scrape_configs: [{{job_name: collector, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
        with prometheus(
            folder / "prometheus", config=f"global: {{scrape_interval: 2s, scrape_timeout: 2s}}\n{scrape}"
        ) as real:
            until(lambda: real.query("ensueno_collector_devices"))
            collect(folder, fleet_of_the_last_day(now), real, counters)
            until(lambda: real.query("sum(rate(ensueno_collector_refused_total[5m])) > 0"))
            yield real, time.time()


def collect(folder: Path, devices: list[Device], real: RealPrometheus, counters: Counters) -> None:
    post = FakePost()
    with closing(Store(folder / "collector.db", reserve=0)) as store, closing(Prometheus(real.write_url)) as client:
        collector = Collector(post, store, counters)
        for device in devices:
            records = list(device.outbox.values())
            for start in range(0, len(records), 50):
                payload = b"[" + b",".join(records[start : start + 50]) + b"]"
                post.give(topics.telemetry(device.name), payload)
            post.give(topics.telemetry(device.name), b"not json")
        while post.given:
            collector.turn()
        forwarder = Forwarder(store, client, counters)
        while forwarder.turn() == 0.0:
            pass


@pytest.mark.parametrize(("name", "kind", "expression"), list(expressions()), ids=lambda value: value[:60])
def test_each_panel_tells_something(
    filled: tuple[RealPrometheus, float], name: str, kind: str, expression: str
) -> None:
    real, now = filled
    if kind == "timeseries":
        values = [
            value for found in real.query_range(expression, now - 21_600, now, 120) for _, value in found["values"]
        ]
    else:
        values = [found["value"][1] for found in real.query(expression, now)]
    assert values, f"{name} is empty: {expression}"
    assert any(value != "NaN" for value in values), f"{name} tells nothing but NaN: {expression}"


def test_the_gap_panel_names_the_device_that_misses_a_record_and_no_other(
    filled: tuple[RealPrometheus, float],
) -> None:
    real, now = filled
    (expression,) = (text for name, _, text in expressions() if name.startswith("gaps: Records missing"))
    found = {one["metric"]["device"]: float(one["value"][1]) for one in real.query(expression, now)}
    assert {device: missing for device, missing in found.items() if missing} == {"sim-000004": 1.0}


def test_the_silent_panel_names_the_silent_device(filled: tuple[RealPrometheus, float]) -> None:
    real, now = filled
    (expression,) = (text for name, _, text in expressions() if name.startswith("gaps: Silent"))
    assert [one["metric"].get("device") for one in real.query(expression, now)][:1] == ["sim-000002"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_each_dashboard_is_one_that_grafana_takes(path: Path) -> None:
    board: dict[str, Any] = json.loads(path.read_text())
    assert board["uid"] == f"ensueno-{path.stem}"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}


def test_dashboards_and_alerts_name_only_series_that_are_written() -> None:
    alerts = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    text = " ".join([alerts, *(expression for _, _, expression in expressions())])
    device = simulate.devices(1)[0]
    device.say(0.0)
    told = set(json.loads(device.outbox[1])["samples"])
    own = Counters().text().decode()
    for name in set(re.findall(r"\bensueno_([a-z0-9_]+)", text)) - {"collector_keep_seconds_bucket"}:
        if name.startswith("collector_"):
            assert f"ensueno_{name}" in own
        else:
            assert name in told or name in series.OF_THE_RECORD
