"""What Prometheus sees, read when it is scraped and never counted on the side."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from appliance.progress import Pulse, boottime, engine_alive
from appliance.web.services import Services


def registered(box: Services, registry: CollectorRegistry | None) -> CollectorRegistry:
    """A registry (the given one, or the app's own) with the box's collector in it."""
    registry = registry or CollectorRegistry()
    registry.register(BoxCollector(box))
    return registry


class BoxCollector(Collector):
    """Reads the journal, the engine's pulse and the web's own seats."""

    def __init__(self, box: Services) -> None:
        self._box = box

    def describe(self) -> list[Metric]:
        """Nothing: registering must not read the journal."""
        return []

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("appliance_jobs", "Jobs in the journal.", labels=["state"])
        for state, count in self._box.journal.counts().items():
            jobs.add_metric([state.value], count)
        yield jobs
        yield from _engine(self._box.board.pulse())
        seats = self._box.seats
        yield _gauge("appliance_watchers", "Streams and waits held now.", seats.taken)
        yield _gauge("appliance_watchers_limit", "How many may be held.", seats.total)
        disk = self._box.limits.disk
        if disk is not None:
            free = shutil.disk_usage(disk).free
            yield _gauge("appliance_disk_free_bytes", "Room left for pictures.", free)


def _engine(pulse: Pulse | None) -> Iterator[Metric]:
    yield _gauge("appliance_engine_up", "1 while the engine is alive.", engine_alive(pulse))
    if pulse is None:
        return
    info = InfoMetricFamily("appliance_engine", "The engine that draws, or drew last.")
    info.add_metric([], {"engine": pulse.engine, "bundle": pulse.bundle})
    yield info
    yield _gauge("appliance_engine_pictures", "Pictures drawn by the present engine.", pulse.pictures)
    age = max(0.0, boottime() - pulse.beat)
    yield _gauge("appliance_engine_beat_age_seconds", "Since the engine's last word.", age)
    if pulse.seconds_per_picture is not None:
        yield _gauge(
            "appliance_seconds_per_picture", "The pace, as the engine last told it.", pulse.seconds_per_picture
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))
