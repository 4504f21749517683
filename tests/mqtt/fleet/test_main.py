"""`python -m mqtt.fleet`, met as its user does: real processes, a real broker, a real Prometheus."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from mqtt.address import Address
from mqtt.fleet import process, top
from mqtt.fleet.__main__ import main
from mqtt.fleet.remote_write import Prometheus, encode
from mqtt.fleet.top import Row, table
from tests.mqtt.fleet.services import DEPLOY, RealPrometheus, plain_broker, started
from tests.served import free_port, until

ROOT = DEPLOY.parent
FLEET = [sys.executable, "-m", "mqtt.fleet"]


def get(url: str) -> str | None:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())
    return None


@pytest.fixture
def running(tmp_path: Path, real_prometheus: RealPrometheus) -> Iterator[tuple[str, list[str]]]:
    """A broker and two collectors that share a folder: the broker's address, and where their counters are."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(plain_broker(tmp_path / "broker", free_port()))
        doors = []
        for name in ("one", "two"):
            listen = f"127.0.0.1:{free_port()}"
            command = [
                *FLEET, "collector", "--broker", broker.url, "--prometheus", real_prometheus.write_url,
                "--data-dir", str(tmp_path / "data"), "--listen", listen, "--name", name,
            ]  # fmt: skip
            stack.enter_context(started(command, tmp_path / f"{name}.log"))
            doors.append(f"http://{listen}")
        for door in doors:
            until(partial(get, f"{door}/readyz"))
        yield broker.url, doors


def test_two_collectors_share_the_work_and_lose_nothing(
    running: tuple[str, list[str]], real_prometheus: RealPrometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    broker, doors = running
    simulate = ["simulate", "--broker", broker, "--devices", "6", "--connections", "2", "--rate", "40"]
    told = subprocess.run([*FLEET, *simulate, "--seconds", "3"], capture_output=True, text=True, cwd=ROOT, check=True)
    said = int(told.stdout.split()[0])
    assert told.stdout.strip() == f"{said} records said, 0 not acknowledged"
    seen = 'sum(count_over_time(ensueno_telemetry_seq{device=~"sim-.*"}[10m]))'
    until(lambda: [one["value"][1] for one in real_prometheus.query(seen)] == [str(said)])
    shares = [_fresh(get(f"{door}/metrics") or "") for door in doors]
    assert sum(shares) == said
    assert all(shares)
    assert main(["top", "--once", "--prometheus", real_prometheus.url]) == 0
    shown = capsys.readouterr().out
    assert sum(line.startswith("sim-0") for line in shown.splitlines()) == 6
    assert get(f"{doors[0]}/elsewhere") is None


def _fresh(metrics: str) -> int:
    name = 'ensueno_collector_records_total{outcome="fresh"} '
    return int(next(float(line.removeprefix(name)) for line in metrics.splitlines() if line.startswith(name)))


def test_metrics_carry_the_collectors_own_counters_alone(running: tuple[str, list[str]]) -> None:
    lines = [line for line in (get(f"{running[1][0]}/metrics") or "").splitlines() if not line.startswith("#")]
    assert lines
    assert all(line.startswith("ensueno_collector_") for line in lines)


def test_a_collector_that_prometheus_lets_not_in_says_so(tmp_path: Path, real_prometheus: RealPrometheus) -> None:
    listen, log = f"127.0.0.1:{free_port()}", tmp_path / "log"
    with plain_broker(tmp_path / "broker", free_port()) as broker:
        command = [
            *FLEET, "collector", "--broker", broker.url, "--prometheus", f"{real_prometheus.url}/nowhere",
            "--data-dir", str(tmp_path / "data"), "--listen", listen,
        ]  # fmt: skip
        with started(command, log):
            until(lambda: get(f"http://{listen}/readyz"))
            simulate = ["simulate", "--broker", broker.url, "--devices", "1", "--seconds", "0.5", "--every", "0.1"]
            subprocess.run([*FLEET, *simulate], capture_output=True, cwd=ROOT, check=True)
            until(lambda: get(f"http://{listen}/readyz") is None)
            until(lambda: "Prometheus takes nothing (404" in log.read_text())
            assert 'waits_total{reason="Unavailable"} ' in (get(f"http://{listen}/metrics") or "")


def test_a_collector_whose_way_to_prometheus_dies_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("dead")

    monkeypatch.setattr(process, "run", die)
    with pytest.raises(RuntimeError, match="dead"):
        process.collect(Address.of(f"mqtt://127.0.0.1:{free_port()}"), "http://x/", tmp_path, "127.0.0.1:0", "one")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_table_keeps_who_was_silent_for_days(real_prometheus: RealPrometheus) -> None:
    name, now = uuid.uuid4().hex, time.time()
    with closing(Prometheus(real_prometheus.write_url)) as client:  # as the rule of alerts.yml has it
        labels = {"__name__": "device:ensueno_telemetry_seq:seen", "device": name}
        client.write(encode(labels, now - 3 * 86_400, now - 60))
    (row,) = (row for row in top.rows(real_prometheus.url) if row.device == name)
    assert row.troubles(now) == ["silent"]
    assert f"{name}  2592" in table([row], now, most=1)


def test_the_table_shows_the_troubled_first() -> None:
    rows = [
        Row("well", seen=1000.0, labels={"engine": "tensorrt"}, samples={"picture_seconds": 0.25}),
        Row("silent", seen=1.0),
        Row("hot", seen=1000.0, labels={"passport": "mismatch"}, samples={"throttled": 1.0}),
    ]
    lines = table(rows, 1000.0, most=40).splitlines()
    assert lines[0] == "3 devices, 2 in trouble"
    assert [line.split()[0] for line in lines[2:]] == ["hot", "silent", "well"]
    assert "passport, throttled" in lines[2]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["collector", "--broker", "http://x"],
        ["collector", "--broker", "mqtt://x:99999999"],
        ["collector", "--ca", "/nowhere", "--broker", "mqtts://localhost"],
        ["collector", "--prometheus", "ftp://x"],
        ["collector", "--prometheus", "http://localhost:abc"],
        ["simulate", "--devices", "0"],
        ["simulate", "--connections", "101"],
        ["top", "--once", "--prometheus", "ftp://x"],
        ["simulate", "--hours", "inf"],
        ["simulate", "--hours", "-1"],
        ["simulate", "--every", "nan"],
        ["simulate", "--rate", "inf"],
        ["simulate", "--seconds", "nan"],
        ["top", "--once", "--prometheus", "http://a%20b:x"],
        ["top", "--once", "--prometheus", "http://["],
        ["top", "--every", "-1"],
        ["top", "--once", "--rows", "0"],
        ["provision", "box", "--days", "0"],
        ["provision", "box", "--days", "99999999"],
        ["provision", "box", "--pki", "file"],
        ["provision", "box", "--pki", "file/in"],
        ["provision", "box", "--broker", "http://bad"],
        ["provision", "box", "--broker", "mqtt://plain"],
        ["provision", "broker", "--role", "broker", "--host", "x" * 64 + ".de"],
    ],
)  # fmt: skip
def test_bad_input_ends_with_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1:1", "a%20b", "x" * 64 + ".example"])
def test_a_prometheus_that_is_away_is_said(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--prometheus", f"http://{host}"]) == 1
    assert "check --prometheus" in capsys.readouterr().err


def test_it_runs_with_nothing_but_its_own_requirements() -> None:
    unwanted = ("flask", "gunicorn", "numpy", "onnxruntime", "PIL", "tokenizers", "torch", "pydantic_settings")
    modules = [f"mqtt.fleet.{path.stem}" for path in (ROOT / "mqtt" / "fleet").glob("[a-z]*.py")]
    block = f"import sys; sys.modules.update(dict.fromkeys({unwanted!r}))"
    code = f"{block}; import {', '.join(modules)}; from mqtt.fleet.__main__ import main; main(['provision', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--revoke" in done.stdout


def test_without_the_clouds_requirements_it_says_which_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mqtt.fleet.process", None)
    assert main(["collector", "--broker", "mqtt://127.0.0.1:1", "--data-dir", str(tmp_path)]) == 2
    assert "requirements/fleet.txt" in capsys.readouterr().err
