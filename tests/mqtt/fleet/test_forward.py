"""From the spool to Prometheus: in order, again after a fault, and never stopped by one bad sample."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class Gate:
    """What may stand before a Prometheus: says `status` to all, or 413 to more than `most` bytes; else passes on."""

    def __init__(self, onward: str = "", most: int = 1 << 30, status: int = 0) -> None:
        self.onward, self.most, self.status, self.asked = onward, most, status, 0

    def answer(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        self.asked += 1
        if self.status or len(body) > self.most:
            return self.status or 413, b"not so"
        try:
            with urllib.request.urlopen(urllib.request.Request(self.onward, body, headers), timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@contextmanager
def gated(gate: Gate) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name: self.headers[name] for name in ("Content-Type", "Content-Encoding")}
            status, text = gate.answer(body, headers)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/v1/write"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def forwarding(folder: Path, url: str) -> Iterator[tuple[Store, Forwarder, Counters]]:
    counters = Counters()
    with closing(Store(folder / "x.db", reserve=0)) as store, closing(Prometheus(url)) as client:
        yield store, Forwarder(store, client, counters), counters


def test_a_prometheus_that_lets_nobody_in_is_said_and_counted(tmp_path: Path) -> None:
    gate = Gate(status=401)
    with gated(gate) as url, forwarding(tmp_path, url) as (store, forwarder, counters):
        store.keep([reading("box", seq, time.time()) for seq in range(1, 51)])
        forwarder.turn()
        assert counters.value("backlog_samples") == 50
        assert counters.value("waits_total", reason="Unavailable") == 1
        assert "401: not so" in (forwarder.trouble or "")
        gate.status = 204
        forwarder.turn()
        assert forwarder.trouble is None
        forwarder.turn()
        assert counters.value("backlog_samples") == 0


def test_a_request_that_is_too_large_is_sent_in_parts(tmp_path: Path, real_prometheus: RealPrometheus) -> None:
    device, now, gate = uuid.uuid4().hex, time.time(), Gate(real_prometheus.write_url, most=300)
    with gated(gate) as url, forwarding(tmp_path, url) as (store, forwarder, counters):
        store.keep([reading(device, seq, now - 60 + seq) for seq in range(1, 51)])
        forwarder.turn()
        assert (store.backlog(), store.aside()) == (0, [])
    assert counters.value("samples_written_total") == 50
    assert len(real_prometheus.samples(f'sent{{device="{device}"}}', now + 1, 3600)[device]) == 50


def test_a_batch_of_nothing_but_old_samples_takes_few_requests(tmp_path: Path, real_prometheus: RealPrometheus) -> None:
    device, now, gate = uuid.uuid4().hex, time.time(), Gate(real_prometheus.write_url)
    with gated(gate) as url, forwarding(tmp_path, url) as (store, forwarder, counters):
        store.keep([reading(device, 1, now)])
        forwarder.turn()
        gate.asked = 0
        store.keep([reading(device, seq, now - 400 * 86_400 + seq) for seq in range(2, 502)])
        forwarder.turn()
        assert store.backlog() == 0
    assert counters.value("refused_total", reason="prometheus") == 500
    assert gate.asked < 10


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
