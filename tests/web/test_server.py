"""The process itself: gunicorn, memory, stopping, and what it must never import."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import psutil
import pytest

from appliance.ids import new_id
from appliance.progress import board_folder
from appliance.web.__main__ import made
from appliance.web.connection import Shares
from appliance.web.gate import meant
from appliance.web.limits import MAX_UPLOAD
from appliance.web.server import Address
from tests.web.box import manifest

MEMORY = 80 << 20
POST = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

HURRIED = """
import sys
from appliance.web.__main__ import made
from appliance.web.server import serve

serve(made(sys.argv[1:]), threads=2, patience=1.0)
"""


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    port: int
    data_dir: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, bytes]:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.status, answer.read()

    def post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


def bundle(folder: Path) -> Path:
    """A bundle folder that is good enough for the web, which reads only its manifest."""
    folder.mkdir()
    (folder / "manifest.json").write_text(
        manifest().model_copy(update={"components": {}}).model_dump_json(), encoding="utf-8"
    )
    return folder


@contextmanager
def started(folder: Path, *options: str, code: str | None = None, **more: Any) -> Iterator[Running]:
    """`python -m appliance.web` on a free port, or that code with its arguments."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data_dir = folder / new_id()
    told = ["--port", str(port), "--data-dir", str(data_dir), "--bundle", str(bundle(folder / "bundle")), *options]
    program = ["-m", "appliance.web"] if code is None else ["-c", code]
    process = subprocess.Popen([sys.executable, *program, *told], **more)
    running = Running(process, port, data_dir)
    try:
        await_health(running)
        yield running
    finally:
        process.terminate()
        process.wait(20)
        rmtree(board_folder(data_dir), ignore_errors=True)


def await_health(running: Running) -> None:
    last = time.monotonic() + 20
    while True:
        try:
            running.connect().close()
            return
        except OSError:
            assert running.process.poll() is None, "the server ended at once"
            assert time.monotonic() < last, "the server does not answer"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("server")) as running:
        yield running


def test_it_serves_the_page_and_takes_jobs(server: Running) -> None:
    assert b"<!doctype html>" in server.get("/")[1].lower()
    job = server.post("/v1/jobs", {"prompt": "a red apple"})
    assert job["state"] == "queued"
    assert json.loads(server.get(f"/v1/jobs/{job['id']}")[1])["id"] == job["id"]


def test_all_its_processes_together_stay_small(server: Running) -> None:
    job = server.post("/v1/jobs", {"prompt": "a red apple"})
    with server.connect() as stream:
        stream.sendall(f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"200 OK" in stream.recv(4096)
        for path in ("/", "/metrics", "/openapi.json", "/v1/images", "/v1/offer"):
            server.get(path)
        top = psutil.Process(server.process.pid)
        family = [top, *top.children(recursive=True)]
        assert len(family) == 2
        total = sum(process.memory_info().rss for process in family)
    assert total <= MEMORY, f"{total / 2**20:.0f} MiB"


def test_a_large_body_is_refused_before_it_is_sent(server: Running) -> None:
    with server.connect() as client:
        client.sendall(f"{POST}Content-Length: {MAX_UPLOAD + 1}\r\n\r\n".encode() + b'{"prompt": "')
        client.settimeout(60)
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"16384 KiB" in answer


def test_a_chunked_body_without_end_is_cut_off(server: Running) -> None:
    with server.connect() as client:
        client.sendall(f"{POST}Transfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"80000\r\n" + b" " * 0x80000 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(MAX_UPLOAD // 0x80000 + 2):
                client.sendall(piece)
        assert client.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_stream_whose_client_left_gives_its_thread_back(server: Running) -> None:
    job = server.post("/v1/jobs", {"prompt": "a red apple"})
    with server.connect() as stream:
        stream.sendall(f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"200 OK" in stream.recv(4096)
        await_watchers(server, 1)  # the one before may not have been missed yet
    await_watchers(server, 0)


def await_watchers(server: Running, count: int) -> None:
    last = time.monotonic() + 30
    while f"appliance_watchers {count}.0".encode() not in server.get("/metrics")[1]:
        assert time.monotonic() < last, f"there are not {count} streams"
        server.post("/v1/jobs", {"prompt": "news", "id": "news"})  # so that it looks up
        time.sleep(0.05)


def test_stopping_ends_the_streams(tmp_path: Path) -> None:
    with started(tmp_path) as running:
        job = running.post("/v1/jobs", {"prompt": "a red apple"})
        with running.connect() as stream:
            stream.sendall(f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert b"200 OK" in stream.recv(4096)
            os.kill(running.process.pid, signal.SIGTERM)
            while stream.recv(4096):
                pass
            assert running.process.wait(20) == 0


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("hurried"), code=HURRIED) as running:
        yield running


@pytest.mark.parametrize(
    "begun",
    ["G", "GET /healthz HTTP/1.1\r\nHost: b", f"{POST}Content-Length: 40\r\n\r\n{{",
     f"{POST}Transfer-Encoding: chunked\r\n\r\n5\r\n{{"],
    ids=["a byte", "headers", "body", "chunks"],
)  # fmt: skip
def test_clients_that_stall_are_dropped_and_keep_nobody_waiting(hurried: Running, begun: str) -> None:
    with ExitStack() as opened:
        stalled = [opened.enter_context(hurried.connect()) for _ in range(6)]
        for client in stalled:
            client.sendall(begun.encode())
        assert hurried.get("/healthz")[0] == 200
        for client in stalled:
            answer = client.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_a_client_that_drips_is_dropped_too(hurried: Running) -> None:
    begun = time.monotonic()
    with hurried.connect() as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        client.settimeout(0.02)
        while not dropped(client):
            assert time.monotonic() - begun < 60
    assert hurried.get("/healthz")[0] == 200


def dropped(client: socket.socket) -> bool:
    """Send one more byte and see."""
    try:
        client.sendall(b"x")
        return client.recv(4096) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_clients_that_do_not_hang_up_keep_nobody_waiting(hurried: Running) -> None:
    begun = time.monotonic()
    with ExitStack() as opened:
        for _ in range(6):
            client = opened.enter_context(hurried.connect())
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert hurried.get("/healthz")[0] == 200
        assert time.monotonic() - begun < 8, "the main loop waited for each in turn"


def test_a_stream_outlasts_the_time_for_reading_a_request(hurried: Running) -> None:
    job = hurried.post("/v1/jobs", {"prompt": "a red apple"})
    with hurried.connect() as stream:
        begun = time.monotonic()
        stream.sendall(f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while time.monotonic() - begun < 2 * 1.0:
            assert hurried.get("/healthz")[0] == 200
        request = urllib.request.Request(f"{hurried.url}/v1/jobs/{job['id']}", method="DELETE")
        with urllib.request.urlopen(request, timeout=10):
            pass
        told = b""
        while piece := stream.recv(4096):
            told += piece
            if b"event: end" in told:
                break
        assert b"event: progress" in told
        assert b"event: end" in told


def test_one_client_gets_its_share_of_the_threads_and_this_machine_all() -> None:
    shares = Shares(2)

    def take(address: str, opened: ExitStack) -> bool:
        return opened.enter_context(shares.thread(address))

    with ExitStack() as opened:
        assert [take("192.168.0.7", opened) for _ in range(3)] == [True, True, False]
        assert take("192.168.0.8", opened)
        for local in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
            assert all(take(local, opened) for _ in range(5))
        assert not take("::ffff:192.168.0.7", opened)
        addresses = ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1")  # three are of one device
        assert [take(address, opened) for address in addresses] == [True, True, False, True]
    with ExitStack() as opened:
        assert take("192.168.0.7", opened)
    assert not shares._held


def test_stopping_while_it_starts_is_quiet(tmp_path: Path) -> None:
    code = """
import dataclasses, os, signal, sys
from appliance.web.__main__ import made
from appliance.web.server import serve

class Early:
    def find_spec(self, name, path=None, target=None):
        if name == "appliance.web.seats":  # while appliance.web.services is half imported
            os.kill(os.getppid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Early())
serve(dataclasses.replace(made(sys.argv[1:]), port=0))
"""
    data_dir = tmp_path / "data"
    told = ["--data-dir", str(data_dir), "--bundle", str(bundle(tmp_path / "bundle"))]
    command = [sys.executable, "-c", code, *told]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    rmtree(board_folder(data_dir), ignore_errors=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_bad_bundle_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "appliance.web", "--data-dir", str(tmp_path / "data"), "--bundle", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1  # not 2: systemd starts it again, since a bundle on trial may be taken back
    assert "manifest.json" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_it_imports_no_model_and_no_picture_library() -> None:
    code = "import sys, appliance.web.__main__, appliance.web as w; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    for name in ("numpy", "PIL", "onnxruntime", "tokenizers", "torch", "tensorrt", "appliance.worker"):
        assert name not in modules


def test_a_box_that_listens_on_a_name_goes_by_it(tmp_path: Path) -> None:
    """Its watchdog and its health check ask by that name."""
    told = ["--host", "mybox", "--data-dir", str(tmp_path), "--bundle", str(bundle(tmp_path / "bundle"))]
    plan = made(told)
    assert meant(f"{plan.host}:{plan.port}", plan.hosts)


def test_addresses() -> None:
    assert str(Address("0.0.0.0", 80)) == "0.0.0.0:80"
    assert str(Address("::", 80)) == "[::]:80"
