"""What systemd hears: a real datagram socket in systemd's place, and the real engine and web that speak to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import config, notify
from appliance.progress import Board
from appliance.web import watchdog
from appliance.worker import process
from appliance.worker.process import EngineProcess, Heart
from tests.served import free_port


class Listener:
    """systemd's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(60)

    def hear(self) -> dict[str, str]:
        """The next message."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def hear_of(self, key: str) -> dict[str, str]:
        """The next message that has the key."""
        while True:
            heard = self.hear()
            if key in heard:
                return heard


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    listener = Listener(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield listener
    listener.socket.close()


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.ready("up")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    notify.working()


def test_a_long_step_makes_the_watchdog_patient_before_it_can_bite(systemd: Listener) -> None:
    notify.working(patience=900)
    assert systemd.hear() == {"WATCHDOG": "1", "WATCHDOG_USEC": "900000000"}


@pytest.mark.parametrize(("value", "seconds"), [("60000000", 60.0), ("", None), ("0", None), ("x", None)])
def test_how_long_systemd_waits(monkeypatch: pytest.MonkeyPatch, value: str, seconds: float | None) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", value)
    assert notify.watchdog_seconds() == seconds


def test_an_engine_is_ready_after_a_picture_and_every_turn_feeds_the_watchdog(
    systemd: Listener, tmp_path: Path, tiny_folder: Path
) -> None:
    settings = config.load({"data_dir": tmp_path / "data", "bundle": tiny_folder, "threads": 1, "reserve_mib": 0})
    engine = EngineProcess(settings)
    assert float(systemd.hear()["EXTEND_TIMEOUT_USEC"]) == 300e6
    assert systemd.hear_of("READY")["STATUS"] == "tiny 0.0.1 on onnxruntime"
    engine._heart._told = -1e9
    engine._heart.worked(0.01, engine._driver, engine._measure)  # an idle turn
    assert float(systemd.hear_of("WATCHDOG")["WATCHDOG_USEC"]) == 300e6
    engine._heart._told = -1e9
    engine._heart.worked(200.0, engine._driver, engine._measure)  # a long legal step
    assert float(systemd.hear_of("WATCHDOG")["WATCHDOG_USEC"]) == (15 + 4 * 200) * 1e6
    engine.ask_to_stop()
    engine.run()
    assert systemd.hear_of("STOPPING")["STOPPING"] == "1"


def test_a_start_that_works_is_given_more_time_until_it_is_ready(systemd: Listener, tmp_path: Path) -> None:
    heart = Heart(Board(tmp_path / "board"), process._first_pulse("session", "tiny"), watchdog=60)
    assert float(systemd.hear()["EXTEND_TIMEOUT_USEC"]) == process.LOAD_PATIENCE * 1e6
    heart._told = -1e9
    heart.alive()  # a network answered
    assert float(systemd.hear()["EXTEND_TIMEOUT_USEC"]) == process.LOAD_PATIENCE * 1e6
    heart.ready("up", patience=15.0)
    assert float(systemd.hear()["EXTEND_TIMEOUT_USEC"]) == 60e6
    assert systemd.hear() == {"READY": "1", "STATUS": "up"}
    heart._told = -1e9
    heart.alive()
    assert systemd.hear() == {"WATCHDOG": "1", "WATCHDOG_USEC": "60000000"}


def test_the_web_feeds_the_watchdog_by_an_answered_request(
    systemd: Listener, tmp_path: Path, tiny_folder: Path
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "appliance.web", "--port", str(port), "--data-dir", str(tmp_path / "data")]
    environment = os.environ | {"WATCHDOG_USEC": "300000"}
    web = subprocess.Popen([*command, "--bundle", str(tiny_folder)], env=environment)
    try:
        systemd.hear_of("READY")
        systemd.hear_of("WATCHDOG")
        assert watchdog.answers("127.0.0.1", port, 5)
    finally:
        web.send_signal(signal.SIGTERM)
        web.wait(20)
    assert not watchdog.answers("127.0.0.1", port, 1)


def test_a_web_that_accepts_and_never_answers_starves_its_watchdog() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert not watchdog.answers("127.0.0.1", mute.getsockname()[1], 0.1)


def test_nobody_watching_means_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog.begin("127.0.0.1", 1) is None
