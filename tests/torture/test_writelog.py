"""A recorded log is read back as the calls that succeeded, and played onto a disk as they changed the folder."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torture.writelog import Call, Player, parsed

ROOT, MARKERS = Path("/box/data"), Path("/box/markers")


def text(words: str | bytes) -> str:
    content = words.encode() if isinstance(words, str) else words
    return '"' + "".join(f"\\x{byte:02x}" for byte in content) + '"'


def played(lines: list[str], where: Path) -> tuple[dict[str, bytes], str]:
    player = Player(ROOT, MARKERS)
    told = "".join(player.play(call) or "" for call in parsed(lines))
    player.root.after_a_cut(random.Random(1), where)
    return {path.name: path.read_bytes() for path in where.rglob("*") if path.is_file()}, told


@given(st.binary(max_size=50), st.integers(0, 10**9))
def test_a_call_is_read_back(data: bytes, offset: int) -> None:
    line = f"pwrite64(7, {text(data)}, {len(data)}, {offset}) = {len(data)}\n"
    assert list(parsed([line])) == [Call("pwrite64", [data], ["7", "", str(len(data)), str(offset)], len(data))]


def test_what_failed_is_passed_over_and_what_is_not_whole_is_refused() -> None:
    assert (
        list(parsed([f"unlink({text('/x')}) = -1 ENOENT (No such file or directory)\n", "+++ exited with 0 +++\n"]))
        == []
    )
    with pytest.raises(ValueError, match="whole"):
        list(parsed([f"pwrite64(7, {text('a')}..., 4096, 0 <unfinished ...>\n"]))


def test_a_synced_picture_survives_and_a_promise_is_told(tmp_path: Path) -> None:
    found, told = played(
        [
            f"mkdir({text('/box/data/images')}, 0777) = 0",
            f"openat(AT_FDCWD, {text('/box/data')}, O_RDONLY|O_DIRECTORY) = 3",
            "fsync(3)   = 0",
            "close(3)   = 0",
            f"openat(AT_FDCWD, {text('/box/data/images/a.draft')}, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 3",
            f"write(3, {text('first ')}, 6) = 6",
            f"write(3, {text('second')}, 6) = 6",
            "fsync(3)   = 0",
            "close(3)   = 0",
            f"rename({text('/box/data/images/a.draft')}, {text('/box/data/images/a.png')}) = 0",
            f"openat(AT_FDCWD, {text('/box/data/images')}, O_RDONLY|O_DIRECTORY) = 3",
            "fsync(3)   = 0",
            f"openat(AT_FDCWD, {text('/box/markers')}, O_WRONLY|O_APPEND) = 4",
            f"write(4, {text('ACK x')}, 5) = 5",
            f"openat(AT_FDCWD, {text('/elsewhere')}, O_WRONLY|O_CREAT, 0666) = 5",
            f"write(5, {text('other')}, 5) = 5",
        ],
        tmp_path,
    )
    assert found == {"a.png": b"first second"}
    assert told == "ACK x"


def test_a_call_that_the_disk_does_not_know_is_no_silent_gap() -> None:
    player = Player(ROOT, MARKERS)
    with pytest.raises(NotImplementedError, match="link"):
        player.play(Call("link", [b"/box/data/a", b"/box/data/b"], ["", ""], 0))
