"""What Prometheus sees, read when it is scraped and never counted on the side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from appliance.device.measures import Measure, facts, measures
from appliance.figures import BOUNDS, Figures
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
        ended = CounterMetricFamily("appliance_jobs", "Jobs in the journal that have their end.", labels=["state"])
        for state, count in self._box.journal.counts().items():
            jobs.add_metric([state.value], count)
            if state.ended:
                ended.add_metric([state.value], count)
        yield jobs
        yield ended
        yield from _engine(self._box.board.pulse())
        yield from _stages(self._box.board.figures())
        seats = self._box.seats
        yield _gauge("appliance_watchers", "Streams and waits held now.", seats.taken)
        yield _gauge("appliance_watchers_limit", "How many may be held.", seats.total)
        health = self._box.health()
        yield from _families(measures(health))
        device = InfoMetricFamily("appliance_device", "The box.")
        device.add_metric([], facts(health))
        yield device


def _families(found: Iterable[Measure]) -> Iterator[Metric]:
    """Measures of one name under one another, as Prometheus wants them."""
    families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for measure in found:
        if measure.name not in families:
            kind = CounterMetricFamily if measure.counter else GaugeMetricFamily
            families[measure.name] = kind(measure.name, measure.help, labels=list(measure.labels))
        families[measure.name].add_metric(list(measure.labels.values()), measure.value)
    yield from families.values()


def _stages(figures: Figures | None) -> Iterator[Metric]:
    if figures is None:
        return
    text = "Seconds of each stage; unet is one call for a whole batch."
    stages = HistogramMetricFamily("appliance_stage_seconds", text, labels=["stage", "engine"])
    for name, histogram in figures.stages.items():
        upto = [sum(histogram.counts[: index + 1]) for index in range(len(histogram.counts))]
        bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
        stages.add_metric([name, figures.engine], list(zip(bounds, upto, strict=True)), histogram.total)
    yield stages
    yield CounterMetricFamily("appliance_parked_seconds", "Too hot to go on.", value=figures.parked_seconds)
    if figures.joules is not None:
        yield CounterMetricFamily("appliance_work_joules", "Drawn by the board while it worked.", value=figures.joules)
    if figures.joules_per_picture is not None:
        yield _gauge("appliance_joules_per_picture", "Of late.", figures.joules_per_picture)


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
