"""What the collector says of itself on `/metrics`. Device samples never come this way: they have times of their own."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from appliance.errors import EnsuenoError, NoRoom, Unavailable
from mqtt.fleet.intake import REASONS
from mqtt.fleet.store import BOUNDS, Kept, Refusal


class Counters:
    """One collector's counters, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        # fmt: off
        self.messages = self._counter("messages", "MQTT messages taken.")
        self._records = self._counter("records", "Records kept (fresh) or known already (repeated).", ["outcome"])
        self._refused = self._counter("refused", "Messages, or parts of them, that cannot be used.", ["reason"])
        self._twins = self._counter("twins", "Batches in which two devices spoke under one name.")
        self.acks = self._counter("acks", "Acknowledgements sent to devices.")
        self.written = self._counter("samples_written", "Samples that Prometheus took.")
        self.waits = self._counter("waits", "Turns in which nothing could be kept or sent, by reason.", ["reason"])
        self.connected = self._gauge("connected", "1 while the broker is there and the subscription granted.")
        self.backlog = self._gauge("backlog_samples", "Samples on the disk that wait for Prometheus.")
        self.devices = self._gauge("devices", "Devices that were ever heard.")
        self.missing = self._gauge("missing_records", "Records that have not come though later ones have.")
        # fmt: on
        for reason in (*REASONS, *BOUNDS, "prometheus"):  # a counter that begins above 0 hides its first rise
            self._refused.labels(reason)
        for outcome in ("fresh", "repeated"):
            self._records.labels(outcome)
        for error in (NoRoom, Unavailable, EnsuenoError):
            self.waits.labels(error.__name__)
        self.keeping = Histogram("ensueno_collector_keep_seconds", "One batch on the disk.", registry=self._registry)

    def kept(self, kept: Kept, refusals: Sequence[Refusal]) -> None:
        self._records.labels("fresh").inc(kept.fresh)
        self._records.labels("repeated").inc(kept.repeated)
        self._twins.inc(len(kept.twins))
        self.refused([*refusals, *kept.refusals])

    def refused(self, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            self._refused.labels(refusal.reason).inc()

    def value(self, name: str, **labels: str) -> float:
        """One number, 0 when nothing was counted yet."""
        return self._registry.get_sample_value(f"ensueno_collector_{name}", labels) or 0.0

    def text(self) -> bytes:
        """All of them in Prometheus' exposition format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"ensueno_collector_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"ensueno_collector_{name}", text, registry=self._registry)
