"""The collector's process: the turn in the main thread, the way to Prometheus and the HTTP door beside it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mqtt import topics
from mqtt.address import Address
from mqtt.fleet import forward
from mqtt.fleet.broker import Broker
from mqtt.fleet.collector import GROUP, Collector
from mqtt.fleet.counters import Counters
from mqtt.fleet.exposition import served
from mqtt.fleet.store import Store

_log = logging.getLogger("ensueno.collector")


def collect(address: Address, prometheus: str, data_dir: Path, listen: str, name: str) -> None:
    """Run until SIGTERM or SIGINT. What was received and not kept stays with the devices."""
    counters, stop = Counters(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    shared = topics.shared(GROUP, topics.ALL_TELEMETRY)
    with (
        closing(Store(data_dir / "collector.db")) as store,
        closing(Broker(address, f"ensueno-collector-{name}", [shared])) as broker,
    ):
        collector = Collector(broker, store, counters)

        def trouble() -> str | None:
            return collector.trouble or (None if broker.ready else broker.trouble)

        with served(listen, counters.text, trouble) as port, _sending(data_dir, prometheus, counters, stop):
            _log.info("Taking telemetry from %s:%d; counters on port %d.", address.host, address.port, port)
            _turn_until(stop, collector, trouble)


def _turn_until(stop: threading.Event, collector: Collector, trouble: Callable[[], str | None]) -> None:
    told: str | None = None
    while not stop.is_set():
        collector.turn()
        problem = trouble()
        if problem != told:
            _log.warning("%s", problem or "All is well again.")
            told = problem


@contextmanager
def _sending(data_dir: Path, prometheus: str, counters: Counters, stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=forward.run, args=(data_dir, prometheus, counters, stop), name="forward")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
