"""`python -m benchmarks.fleet`: what one collector takes, by how many devices there are.

A real Mosquitto, the collector as its own process with its file on this disk, and a generator that sends as fast as the
broker takes it: QoS 1, one record in a message or, with `--batch`, several. Prometheus is a sink that says 204, so that
its CPU is not counted. Everything runs on this one machine, so the rate is of all three together; CPU for a record and
memory are the collector's alone.
"""

from __future__ import annotations

import argparse
import http.server
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psutil

from mqtt import topics
from mqtt.address import Address
from mqtt.fleet.broker import Broker
from mqtt.fleet.simulate import Device
from mqtt.fleet.store import Reading, Store

SIZES = (100, 1_000, 10_000, 100_000)
_IN_FLIGHT = 2000
_MOST_CONNECTIONS = 400  # of one generator: `select` knows no more than 1,024 files
_TAKEN = 'ensueno_collector_records_total{outcome="fresh"}'


def main() -> int:
    """Measure each size and print a table, or json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description="What one collector takes.")
    parser.add_argument("--devices", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seconds", type=float, default=15.0, help="for each size, after a second of warming up")
    parser.add_argument("--samples", type=int, default=25, help="in one record; a real box says about 25")
    parser.add_argument("--batch", type=int, default=1, help="records in one message, as a backlog comes")
    parser.add_argument("--connections", type=int, default=50, help="that the devices share")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--generate", nargs=3, type=int, metavar=("PORT", "FIRST", "LAST"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        port, first, last = options.generate
        _generate(port, range(first, last), options)
        return 0
    found = [_measure(devices, options) for devices in options.devices]
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{'devices':>8} {'records/s':>10} {'µs CPU/record':>15} {'MiB':>6} {'load':>6}")
        for row in found:
            print("{devices:>8} {rate:>10.0f} {cpu:>15.0f} {memory:>6.0f} {load:>6.1f}".format(**row))
    return 0


def _measure(devices: int, options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name, _sink() as prometheus, _mosquitto(Path(name)) as port:
        folder = Path(name) / "data"
        _know(folder, devices)
        listen = _free_port()
        command = [
            sys.executable, "-m", "mqtt.fleet", "collector", "--broker", f"mqtt://127.0.0.1:{port}",
            "--prometheus", prometheus, "--data-dir", str(folder), "--listen", f"127.0.0.1:{listen}",
        ]  # fmt: skip
        with _process(command) as collector, ExitStack() as stack:
            _until(lambda: _counter(listen, "ensueno_collector_connected") == 1)
            for generate in _generators(port, devices, options):
                stack.enter_context(_process(generate))
            _until(lambda: _counter(listen, _TAKEN) > 1000)
            return {"devices": devices, **_watch(psutil.Process(collector.pid), listen, options.seconds)}


def _generators(port: int, devices: int, options: argparse.Namespace) -> Iterator[list[str]]:
    """As many processes as the connections need, each with its part of the devices."""
    many = -(-options.connections // _MOST_CONNECTIONS)
    command = [sys.executable, "-m", "benchmarks.fleet", "--samples", str(options.samples)]
    command += ["--batch", str(options.batch), "--connections", str(options.connections // many)]
    for part in range(many):
        first, last = devices * part // many, devices * (part + 1) // many
        yield [*command, "--generate", str(port), str(first), str(last)]


def _watch(process: psutil.Process, listen: int, seconds: float) -> dict[str, float]:
    def look() -> tuple[float, float, float]:
        used = process.cpu_times()
        return time.monotonic(), used.user + used.system, _counter(listen, _TAKEN)

    start, cpu, messages = look()
    time.sleep(seconds)
    end, cpu_end, messages_end = look()
    taken = max(messages_end - messages, 1.0)
    return {
        "rate": taken / (end - start),
        "cpu": (cpu_end - cpu) / taken * 1e6,
        "memory": process.memory_info().rss / (1 << 20),
        "load": psutil.getloadavg()[0],
    }


def _know(folder: Path, devices: int) -> None:
    """A store that has heard every device before."""
    with closing(Store(folder / "collector.db", reserve=0)) as store:
        now = time.time()
        store.keep([Reading(_name(number), "bench", 1, now, b"", 0) for number in range(devices)])


def _generate(port: int, devices: range, options: argparse.Namespace) -> None:
    """Send without an end, each device in turn, at most `_IN_FLIGHT` messages that the broker has not taken."""
    delivered = [0]

    def count(_mid: int) -> None:
        delivered[0] += 1

    address = Address.of(f"mqtt://127.0.0.1:{port}")
    names = [f"generator-{devices.start}-{index}" for index in range(options.connections)]
    lines = [Broker(address, name, on_delivered=count) for name in names]
    for line in lines:
        _until(lambda line=line: line.receive(1, 0.01) or line.ready)
    model, sent = Device("model", 1, "bench"), 0
    model.say(0.0)
    body = json.loads(model.outbox[1])
    body["samples"] = dict(list(body["samples"].items())[: options.samples])
    batch = options.batch
    while True:
        line = lines[sent // 20 % len(lines)]
        for _ in range(20):
            name, first, now = _name(devices[sent % len(devices)]), sent // len(devices) * batch + 2, time.time()
            records = [{**body, "device": name, "seq": first + n, "time": now + n / 100} for n in range(batch)]
            line.publish(topics.telemetry(name), json.dumps(records if batch > 1 else records[0]).encode(), 1)
            sent += 1
        line.receive(1, 0.0)
        while sent - delivered[0] > _IN_FLIGHT:
            for line in lines:
                line.receive(1, 0.0005)


def _name(number: int) -> str:
    return f"bench-{number:06d}"


@contextmanager
def _sink() -> Iterator[str]:
    class Sink(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/api/v1/write"
    server.shutdown()
    server.server_close()


@contextmanager
def _mosquitto(folder: Path) -> Iterator[int]:
    port = _free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 1000\n"
        "max_queued_messages 10000\nset_tcp_nodelay true\nlog_type none\n"
    )
    with _process(["mosquitto", "-c", str(config)]):
        yield port


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _counter(port: int, name: str) -> float:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def _until(true: Any) -> None:
    deadline = time.monotonic() + 60
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit("A part of the benchmark did not start: run it again with nothing else running.")
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
