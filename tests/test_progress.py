"""The board and the bell: quick, forgetful, and never in anybody's way."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import EnsuenoError
from appliance.progress import (
    ANYTHING,
    Board,
    Progress,
    Pulse,
    board_folder,
    boottime,
    engine_alive,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """On tmpfs, as on the box."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as parent:
        yield Path(parent) / "board"


@pytest.fixture
def board(folder: Path) -> Board:
    return Board(folder)


def pulse(pid: int | None = None, beat: float = 100.0, patience: float = 15.0) -> Pulse:
    pid = os.getpid() if pid is None else pid
    return Pulse(pid=pid, session="s", engine="fake", bundle="tiny", beat=beat, patience=patience)


# --- the bell ----------------------------------------------------------------------------------------------------


def test_a_ring_tells_the_job(board: Board) -> None:
    with board.bell() as bell:
        board.ring("a")
        board.ring("b")
        board.ring("a")
        assert bell.wait(5) == {"a", "b"}
        assert bell.wait(0) == set()


def test_a_ring_without_a_name_means_anything(board: Board) -> None:
    with board.bell() as bell:
        board.ring()
        assert bell.wait(5) == {ANYTHING}


def test_every_listener_hears(board: Board) -> None:
    with board.bell() as one, board.bell() as other:
        board.ring("a")
        assert one.wait(5) == other.wait(5) == {"a"}


def test_a_ring_from_another_process_wakes(board: Board, folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from appliance.progress import Board; Board(Path(sys.argv[1])).ring('a')"
    )
    with board.bell() as bell:
        subprocess.run([sys.executable, "-c", script, str(folder)], check=True)
        assert bell.wait(5) == {"a"}


def test_nobody_listening_is_no_fault(board: Board) -> None:
    board.ring("a")


def test_a_vanished_board_is_made_again(board: Board, folder: Path) -> None:
    shutil.rmtree(folder)
    board.ring("a")
    board.show("a", Progress(step=1, steps=2))
    board.beat(pulse())
    board.clear("a")
    assert board.progress("a") is None
    assert board.pulse() == pulse()


def test_a_full_listener_neither_blocks_nor_fails_the_ringer(board: Board, folder: Path) -> None:
    with board.bell() as bell:
        for _ in range(2000):
            board.ring("a")
        board.ring("b")
        heard: set[str] = set()
        while rung := bell.wait(0):
            heard |= rung
        assert "b" in heard or ANYTHING in heard
        assert len(list((folder / "bells").iterdir())) == 1
        board.ring("c")
        assert bell.wait(5) == {"c"}


def test_after_many_rings_a_listener_looks_at_everything(board: Board) -> None:
    with board.bell() as bell:
        for number in range(11):
            board.ring(str(number))
        assert ANYTHING in bell.wait(5)


def test_the_socket_of_a_dead_listener_is_swept(board: Board, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(folder / "bells" / "dead"))
    with board.bell() as bell:
        board.ring("a")
        assert bell.wait(5) == {"a"}
        assert not (folder / "bells" / "dead").exists()


def test_a_stray_file_among_the_bells_is_left_alone(board: Board, folder: Path) -> None:
    stray = folder / "bells" / "stray"
    stray.write_text("not a socket")
    with board.bell() as bell:
        board.ring("a")
        assert bell.wait(5) == {"a"}
    assert stray.read_text() == "not a socket"


def test_a_closed_bell_leaves_nothing(board: Board, folder: Path) -> None:
    with board.bell():
        pass
    assert [path for path in folder.rglob("*") if path.is_socket()] == []


def test_a_bell_waits_on_any_descriptor(board: Board) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("this machine opens few files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    try:
        with board.bell() as bell:
            far = fcntl.fcntl(bell.fileno(), fcntl.F_DUPFD, 1500)
            near, bell._socket = bell._socket, socket.socket(fileno=far)
            near.close()
            board.ring("a")
            assert bell.wait(5) == {"a"}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- the board ---------------------------------------------------------------------------------------------------


def test_progress_is_shown_overwritten_and_cleared_with_a_ring(board: Board) -> None:
    with board.bell() as bell:
        for step in (1, 2):
            board.show("a", Progress(step=step, steps=2, seconds_left=0.5, previews=["x"]))
            assert bell.wait(5) == {"a"}
        assert board.progress("a") == Progress(step=2, steps=2, seconds_left=0.5, previews=["x"])
        board.clear("a")
        assert bell.wait(5) == {"a"}
        assert board.progress("a") is None
        board.clear("a")


def test_a_new_engine_begins_with_an_empty_board(board: Board, folder: Path) -> None:
    board.show("a", Progress(step=1, steps=2))
    (folder / "jobs" / "b.draft").write_text("half")
    board.clear_all()
    assert list((folder / "jobs").iterdir()) == []


def test_a_reader_beside_the_writer_always_sees_a_whole_file(board: Board) -> None:
    board.show("a", Progress(step=0, steps=200))
    begun, done, seen = threading.Event(), threading.Event(), list[Progress | None]()

    def read() -> None:
        while not done.is_set():
            seen.append(board.progress("a"))
            begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    begun.wait(5)
    for step in range(1, 301):
        board.show("a", Progress(step=step, steps=200, previews=[str(step) * 2000]))
    done.set()
    reader.join()
    whole = [progress for progress in seen if progress is not None]
    assert len(whole) == len(seen)
    assert all(not progress.previews or progress.previews == [str(progress.step) * 2000] for progress in whole)
    assert [progress.step for progress in whole] == sorted(progress.step for progress in whole)


@pytest.mark.parametrize("name", ["../engine", "/etc/passwd", "a\0", "\ud800", "", "a/b", "x" * 300])
def test_no_string_from_outside_becomes_a_path(board: Board, name: str) -> None:
    board.beat(pulse())
    assert board.progress(name) is None


def test_half_a_file_is_no_progress(board: Board, folder: Path) -> None:
    (folder / "jobs" / "a.json").write_bytes(b'{"step": 1')
    (folder / "engine.json").write_bytes(b"\xff")
    assert board.progress("a") is None
    assert board.pulse() is None


def test_a_board_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnsuenoError, match="belongs to somebody else"):
        Board(folder)


def test_a_board_is_for_its_owner_only(board: Board, folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700


def test_two_processes_share_one_board(board: Board, folder: Path) -> None:
    board.beat(pulse(beat=7))
    assert Board(folder).pulse() == pulse(beat=7)


def test_each_data_dir_has_its_own_short_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    one, other = board_folder(tmp_path / ("a" * 200)), board_folder(tmp_path / "b")
    assert one != other
    assert one == board_folder(tmp_path / "b" / ".." / ("a" * 200))
    assert len(str(one / "bells" / ("x" * 12))) <= 107


# --- the pulse ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "alive"), [(100.0, True), (115.0, True), (115.1, False), (1e9, False), (99.9, False)])
def test_an_engine_lives_while_its_beat_is_fresh(now: float, alive: bool) -> None:
    assert engine_alive(pulse(beat=100.0), now=lambda: now) is alive


def test_no_pulse_is_no_engine() -> None:
    assert not engine_alive(None)


def test_an_engine_whose_process_is_gone_is_dead_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not engine_alive(pulse(pid=process.pid, beat=boottime()))
    assert engine_alive(pulse(beat=boottime()))


def test_the_patience_can_be_chosen() -> None:
    assert engine_alive(pulse(beat=0.0, patience=60), now=lambda: 60.0)
    assert not engine_alive(pulse(beat=0.0, patience=59), now=lambda: 60.0)
