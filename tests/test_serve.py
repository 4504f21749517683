"""The real processes: `ensueno serve` with its web and engine, killed in earnest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from appliance import config, png, serve
from appliance.errors import BadInput
from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.network.addresses import addresses
from appliance.pipeline.manifest import Bundle
from appliance.plans import wanted
from appliance.progress import Board, Pulse, board_folder, boottime
from appliance.request import GenerationRequest
from appliance.serve import Child, Supervisor
from tests.served import Served, free_port, running, until


@pytest.fixture(scope="module")
def served(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(tiny_folder, tmp_path_factory.mktemp("served")) as box:
        yield box


def test_a_wish_over_http_becomes_a_picture(served: Served) -> None:
    status, job = served.call("/v1/jobs", {"prompt": "a red apple", "seed": 7})
    assert status == 202
    job = served.ended(job["id"])
    assert job["state"] == "finished"
    with urllib.request.urlopen(f"{served.url}/v1/images/{job['images'][0]}.png") as answer:
        assert answer.read(8) == b"\x89PNG\r\n\x1a\n"


def test_an_engine_killed_in_the_middle_loses_nothing_and_closes_no_page(served: Served) -> None:
    jobs = [served.call("/v1/jobs", {"prompt": f"wish {n}", "steps": 50, "count": 4})[1]["id"] for n in range(6)]
    engine = served.engine()
    os.kill(engine, signal.SIGKILL)
    assert served.call("/healthz")[0] == 200
    assert {served.ended(job_id)["state"] for job_id in jobs} == {"finished"}
    assert all(len(served.call(f"/v1/jobs/{job_id}")[1]["images"]) == 4 for job_id in jobs)
    assert served.engine() != engine


def test_the_web_killed_comes_back_and_the_job_goes_on(served: Served) -> None:
    job_id = served.call("/v1/jobs", {"prompt": "while the page is away", "steps": 50})[1]["id"]
    web = served.web()
    os.kill(web, signal.SIGKILL)
    until(lambda: served.web() != web)
    assert served.ended(job_id)["state"] == "finished"


def test_a_second_engine_on_the_same_data_dir_is_refused_with_a_sentence(served: Served, tiny_folder: Path) -> None:
    command = [sys.executable, "-m", "appliance.worker", "--data-dir", str(served.data_dir)]
    answer = subprocess.run([*command, "--bundle", str(tiny_folder)], capture_output=True, text=True)
    assert answer.returncode == 1
    assert answer.stderr.startswith("Another engine already works on ")
    assert "Traceback" not in answer.stderr


def test_generate_can_ask_a_running_box(served: Served, tmp_path: Path) -> None:
    out = tmp_path / "fox.png"
    command = [sys.executable, "-m", "appliance", "generate", "a fox", "--server", served.url, "--out", str(out)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == str(out)
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_box_that_refuses_says_why_through_generate(served: Served) -> None:
    command = [sys.executable, "-m", "appliance", "generate", "a fox", "--server", served.url, "--size", "9x9"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 2
    assert "9x9 is not offered" in answer.stderr


def test_a_second_box_on_the_same_data_dir_is_refused_with_a_sentence(served: Served, tiny_folder: Path) -> None:
    command = [sys.executable, "-m", "appliance", "serve", "--port", str(free_port())]
    command += ["--data-dir", str(served.data_dir), "--bundle", str(tiny_folder)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 1
    assert answer.stderr.startswith("Another `ensueno serve` already works on ")


def test_a_box_that_cannot_check_its_pictures_does_not_begin(tiny_folder: Path, tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "appliance", "serve", "--data-dir", str(tmp_path), "--bundle", str(tiny_folder),
         "--picture-check", "on"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert refused.returncode == 2
    assert refused.stderr.startswith("picture_check is on, but tiny has no safety checker: export the bundle")
    assert refused.stderr.count("\n") == 1


def test_what_is_kept_is_its_owners_alone(served: Served) -> None:
    for path in served.data_dir.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_box_asked_over_the_network_says_where_a_phone_finds_it() -> None:
    assert addresses("127.0.0.1", 80) == ["http://localhost:80"]
    assert addresses("0.0.0.0", 80)[0] == "http://localhost:80"
    assert addresses("fe80::1", 80) == ["http://[fe80::1]:80"]


def test_bad_input_is_fatal_only_at_the_first_start() -> None:
    child = Child("It", [sys.executable, "-c", "raise SystemExit(2)"])
    child.keep(0.0)
    assert child.process is not None
    child.process.wait()
    with pytest.raises(BadInput, match="cannot run as it was told to"):
        child.keep(1.0)
    child.starts = 2
    child.keep(2.0)
    assert child.process is None


def test_a_child_that_dies_at_once_is_started_again_after_a_growing_pause() -> None:
    child = Child("It", [sys.executable, "-c", "raise SystemExit(3)"])
    starts = 0
    now = 0.0
    pauses = []
    while starts < 4:
        before = child.process
        child.keep(now)
        if child.process is not None and child.process is not before:
            starts += 1
            child.process.wait()
        elif child.process is None:
            pauses.append(child.start_at - now)
        now = max(now + 0.01, child.start_at)
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0]


def test_a_box_with_a_damaged_journal_starts_with_a_new_one_and_says_so(tiny_folder: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    Journal(journal).close()
    content = bytearray(journal.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    journal.write_bytes(content)
    store = ImageStore(tmp_path / "images")
    before = store.save("0" * 26, b"a picture of the damaged journal")
    request = GenerationRequest.of({"prompt": "a red apple", "seed": 7}, Bundle.open(tiny_folder).manifest.offer())
    told = png.encode_with_request(np.zeros((8, 8, 3), np.uint8), request, 0, engine="e", bundle="b")
    store.save("1" * 26, told)
    with running(tiny_folder, tmp_path) as box:
        assert "journal.db.damaged-" in box.call("/readyz")[1]["note"]
        assert [image["id"] for image in box.call("/v1/images")[1]["images"]] == ["1" * 26]
        status, job = box.call("/v1/jobs", {"prompt": "a red apple"})
        assert status == 202
        assert box.ended(job["id"])["state"] == "finished"
    aside = {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.glob("journal.db.damaged-*")}
    assert len(aside) == 1
    assert before.exists()


def test_plans_that_are_asked_for_are_built_while_the_queue_waits(tiny_folder: Path, tmp_path: Path) -> None:
    """By the real builder's process, which finds no GPU here and says so: the engine goes on as before."""
    with running(tiny_folder, tmp_path) as box:
        before = box.engine()
        wanted.ask(tmp_path, wanted.Wanted(target="tensorrt-rtx", bundle=tiny_folder, made_of={}))
        until(lambda: wanted.wanted(tmp_path) is None)
        job_id = box.call("/v1/jobs", {"prompt": "while it builds"})[1]["id"]
        assert box.ended(job_id)["state"] == "finished"
        assert box.engine() != before


def test_the_engine_makes_room_for_the_builder_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = tmp_path / "go on"
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.01)"
    monkeypatch.setattr(serve, "builder_command", lambda plans, data_dir: [sys.executable, "-c", waits])
    supervisor = Supervisor(config.load({"data_dir": tmp_path}), [])
    for child in (supervisor.web, supervisor.engine):
        child.command = [sys.executable, "-c", "import time; time.sleep(600)"]
    try:
        supervisor.turn(0.0)
        first = supervisor.engine.process
        assert first is not None
        wanted.ask(tmp_path, wanted.Wanted(target="tensorrt", bundle=tmp_path, made_of={}))
        supervisor.turn(1.0)
        assert first.wait(60) == -signal.SIGTERM
        supervisor.turn(2.0)
        assert supervisor.builder is not None
        supervisor.turn(3.0)
        assert supervisor.engine.process is None
        assert not supervisor.web.ended
        go_on.touch()
        assert supervisor.builder.process is not None
        supervisor.builder.process.wait(60)
        supervisor.turn(4.0)
        assert supervisor.builder is None
        assert not supervisor.engine.ended
        assert wanted.wanted(tmp_path) is None
    finally:
        for child in (supervisor.web, supervisor.engine):
            child.signal(signal.SIGKILL)
            child.wait(60)


def test_an_engine_that_gives_no_sign_of_life_is_ended_and_one_that_is_only_slow_is_not(tmp_path: Path) -> None:
    supervisor = Supervisor(config.load({"data_dir": tmp_path, "watchdog_seconds": 20}), [])
    for child in (supervisor.web, supervisor.engine):
        child.command = [sys.executable, "-c", "import time; time.sleep(600)"]
    try:
        supervisor.turn(0.0)
        assert supervisor.engine.process is not None
        pulse = Pulse(pid=supervisor.engine.process.pid, session="s", engine="e", bundle="b", beat=boottime() - 30)
        board = Board(board_folder(tmp_path))
        board.beat(pulse.model_copy(update={"patience": 300.0}))
        supervisor.turn(1.0)
        assert supervisor.engine.process.poll() is None
        board.beat(pulse)
        supervisor.turn(2.0)
        assert supervisor.engine.process.wait(60) == -signal.SIGKILL
    finally:
        for child in (supervisor.web, supervisor.engine):
            child.signal(signal.SIGKILL)
            child.wait(60)
