"""The collector's process: the turn in the main thread, the way to Prometheus and the HTTP door beside it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from appliance import stop_signals
from mqtt import topics
from mqtt.address import Address
from mqtt.fleet.broker import Broker
from mqtt.fleet.collector import GROUP, Collector
from mqtt.fleet.counters import Counters
from mqtt.fleet.exposition import served
from mqtt.fleet.forward import Forwarder, run
from mqtt.fleet.remote_write import Prometheus
from mqtt.fleet.store import Store

_log = logging.getLogger("ensueno.collector")


def collect(address: Address, prometheus: str, data_dir: Path, listen: str, name: str) -> None:
    """Run until SIGTERM or SIGINT. What was received and not kept stays with the devices. Raises `BadInput`."""
    counters = Counters()
    shared, file = topics.shared(GROUP, topics.ALL_TELEMETRY), data_dir / "collector.db"
    with (
        _until_stopped() as stop,
        closing(Prometheus(prometheus)) as client,
        closing(Store(file)) as store,
        closing(Store(file, reserve=0)) as spool,
        closing(Broker(address, f"ensueno-collector-{name}", [shared])) as broker,
    ):
        collector, forwarder = Collector(broker, store, counters), Forwarder(spool, client, counters)

        def trouble() -> str | None:
            return collector.trouble or (None if broker.ready else broker.trouble) or forwarder.trouble

        with served(listen, counters.text, trouble) as port, _sending(forwarder, data_dir / "forward.lock", stop):
            _log.info("Taking telemetry from %s:%d; counters on port %d.", address.host, address.port, port)
            _turn_until(stop, collector, trouble)


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """Set by SIGTERM and SIGINT, which mean afterwards what they did before."""
    stop = threading.Event()
    with stop_signals.heard(lambda *_: stop.set()):
        yield stop


def _turn_until(stop: threading.Event, collector: Collector, trouble: Callable[[], str | None]) -> None:
    told: str | None = None
    while not stop.is_set():
        collector.turn()
        problem = trouble()
        if problem != told:
            _log.warning("%s", problem or "All is well again.")
            told = problem


@contextmanager
def _sending(forwarder: Forwarder, lock: Path, stop: threading.Event) -> Iterator[None]:
    """Forward in a thread. When it dies the process ends with its error: one that only takes would fill the disk."""
    with ThreadPoolExecutor(1, "forward") as pool:
        sending = pool.submit(run, forwarder, lock, stop)
        sending.add_done_callback(lambda _: stop.set())
        try:
            yield
        finally:
            stop.set()
    sending.result()
