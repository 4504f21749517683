"""The real services that the cloud side meets, on loopback, each in a folder of its own and ended with its test."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.served import free_port, until
from torture.broker import takes_connections

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


@contextmanager
def started(command: list[str], log: Path, stop: signal.Signals = signal.SIGTERM) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in `log`, ended by its id."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class RealPrometheus:
    """Debian's Prometheus with the window for late samples open, as deploy/prometheus sets it."""

    url: str
    folder: Path

    @property
    def write_url(self) -> str:
        return f"{self.url}/api/v1/write"

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """An instant query's result."""
        fields = {"query": expression} | ({} if at is None else {"time": f"{at:.3f}"})
        return self._ask("query", fields)["result"]  # type: ignore[no-any-return]

    def samples(self, selector: str, end: float, seconds: int) -> dict[str, list[tuple[float, float]]]:
        """Every raw sample of each device's series within `seconds` before `end`, as (time, value)."""
        found = self.query(f"{selector}[{seconds}s]", end)
        return {
            series["metric"]["device"]: [(time, float(value)) for time, value in series["values"]] for series in found
        }

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        fields = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": str(step)}
        return self._ask("query_range", fields)["result"]  # type: ignore[no-any-return]

    def _ask(self, what: str, fields: Mapping[str, str]) -> dict[str, Any]:
        data = urllib.parse.urlencode(fields).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{what}", data, timeout=30) as answer:
                return json.loads(answer.read())["data"]  # type: ignore[no-any-return]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{fields}: {error.read().decode()}") from None

    def ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
        return False


@contextmanager
def prometheus(folder: Path, port: int | None = None, config: str = "") -> Iterator[RealPrometheus]:
    """Run one over `folder`; a second run there sees what the first has kept. `config`: more lines of its file."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    file = folder / "prometheus.yml"
    file.write_text(f"storage: {{tsdb: {{out_of_order_time_window: 8d}}}}\n{config}")
    command = [
        "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver", "--log.level=warn",
    ]  # fmt: skip
    real = RealPrometheus(f"http://127.0.0.1:{port}", folder)
    with started(command, folder / "log"):
        until(real.ready)
        yield real


class PlainBroker:
    """Debian's Mosquitto as it comes, on loopback without TLS; it can be stopped, killed and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._config, self._log = folder / "mosquitto.conf", folder / "log"
        self._config.write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n")
        self._port, self._process = port, None
        self.url = f"mqtt://127.0.0.1:{port}"

    _process: subprocess.Popen[bytes] | None

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                ["mosquitto", "-c", str(self._config)], stdout=output, stderr=subprocess.STDOUT
            )
        until(lambda: takes_connections(self._port))

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None


@contextmanager
def plain_broker(folder: Path, port: int) -> Iterator[PlainBroker]:
    broker = PlainBroker(folder, port)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


class ShippedBroker:
    """A real Mosquitto with deploy/mosquitto/mosquitto.conf; only its paths and its address are others."""

    def __init__(self, folder: Path, pki: Path, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        text = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text()
        text = text.replace("/mosquitto/pki/", f"{pki / 'broker'}/").replace("/mosquitto/data/", f"{folder / 'data'}/")
        text = text.replace("listener 8883", f"listener {port} 127.0.0.1")
        assert f"listener {port} 127.0.0.1" in text
        self.config, self.port, self.pki = folder / "mosquitto.conf", port, pki
        self.config.write_text(f"user root\n{text}")
        self.url = f"mqtts://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"

    def read_anew(self) -> None:
        """As an owner would after provisioning: SIGHUP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)


@contextmanager
def shipped_broker(folder: Path, pki: Path) -> Iterator[ShippedBroker]:
    broker = ShippedBroker(folder, pki, free_port())
    with started(["mosquitto", "-c", str(broker.config)], broker.log) as broker.process:
        until(lambda: takes_connections(broker.port))
        yield broker
