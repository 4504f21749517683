"""A recorded log of system calls (strace), played back onto a `disk` one call at a time.

One process without threads is recorded, so the calls stand in the order in which they happened.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import Unavailable
from torture.disk import File, Folder

_CALLS = (
    "open,openat,creat,write,pwrite64,writev,pwritev,lseek,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range"
    ",close,dup,dup2,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir"
)
_LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that succeeded: its strings in order, and its other arguments as written."""

    name: str
    strings: list[bytes]
    arguments: list[str]
    answer: int


def record(command: Sequence[str], log: Path) -> None:
    """Run a command, its writing calls kept in `log`. Raises `Unavailable` when strace is not there."""
    tool = ["strace", "-o", str(log), "-xx", "-s", str(1 << 24), "-e", f"trace={_CALLS}", "-e", "signal=none"]
    try:
        subprocess.run([*tool, *command], check=True)
    except FileNotFoundError:
        raise Unavailable("Power cuts need strace: `sudo apt-get install strace`.") from None


def parsed(lines: Iterable[str]) -> Iterator[Call]:
    """The calls of a log that succeeded. Raises `ValueError` for a call that was not written down whole."""
    for line in lines:
        if line.startswith(("+++", "---")):
            continue
        found = _LINE.match(line)
        if found is None:
            raise ValueError(f"not a whole system call: {line[:80]!r}")
        name, inside, answer = found.groups()
        if int(answer) < 0:
            continue
        strings = [bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(inside)]
        yield Call(name, strings, _STRING.sub("", inside).split(", "), int(answer))


class Player:
    """Plays calls onto `root`, the disk's folder that stands for `data_dir`; `play` returns a marker line, if any."""

    def __init__(self, data_dir: Path, markers: Path) -> None:
        self.root = Folder()
        self._data_dir = data_dir
        self._markers = markers
        self._open: dict[int, File | Folder | None] = {}  # None: the markers
        self._offsets: dict[int, int] = {}

    def play(self, call: Call) -> str | None:
        """Raises `NotImplementedError` for a call on the folder that this disk does not know."""
        fd = int(call.arguments[0]) if call.arguments[0].isdecimal() else -1
        if call.name == "openat":
            self._opened(Path(os.fsdecode(call.strings[0])), call.arguments[2], call.answer)
        elif call.name == "close":
            self._open.pop(fd, None)
        elif call.name in ("write", "pwrite64", "ftruncate", "lseek", "fsync", "fdatasync"):
            if fd in self._open:
                return self._on_descriptor(call, fd)
        elif call.name in ("rename", "unlink", "mkdir", "rmdir"):
            self._on_names(call, [Path(os.fsdecode(string)) for string in call.strings])
        elif fd in self._open or any(self._within(Path(os.fsdecode(string))) for string in call.strings):
            raise NotImplementedError(call.name)
        return None

    def _opened(self, path: Path, flags: str, fd: int) -> None:
        if path == self._markers:
            self._open[fd] = None
        if not self._within(path):
            return
        self._open[fd] = node = self._node(path, create="O_CREAT" in flags)
        self._offsets[fd] = 0
        if "O_TRUNC" in flags and isinstance(node, File):
            node.truncate(0)

    def _on_descriptor(self, call: Call, fd: int) -> str | None:
        node = self._open[fd]
        if node is None:
            return call.strings[0].decode() if call.name == "write" else None
        if call.name in ("fsync", "fdatasync"):
            node.sync()
        elif isinstance(node, Folder):
            pass
        elif call.name == "pwrite64":
            node.write(int(call.arguments[-1]), call.strings[0][: call.answer])
        elif call.name == "write":
            node.write(self._offsets[fd], call.strings[0][: call.answer])
            self._offsets[fd] += call.answer
        elif call.name == "lseek":
            self._offsets[fd] = call.answer
        else:
            node.truncate(int(call.arguments[1]))
        return None

    def _on_names(self, call: Call, paths: list[Path]) -> None:
        if not self._within(paths[0]) or paths[0] == self._data_dir:
            return
        folder, name = self._folder(paths[0].parent), paths[0].name
        if call.name == "mkdir":
            folder.change({name: Folder()})
        elif call.name == "rename":
            if paths[1].parent != paths[0].parent:
                raise NotImplementedError("a rename from one folder into another")
            folder.change({name: None, paths[1].name: folder.now[name]})
        else:
            folder.change({name: None})

    def _node(self, path: Path, create: bool) -> File | Folder:
        if path == self._data_dir:
            return self.root
        folder = self._folder(path.parent)
        if path.name not in folder.now and create:
            folder.change({path.name: File()})
        return folder.now[path.name]

    def _folder(self, path: Path) -> Folder:
        found: File | Folder = self.root
        for part in path.relative_to(self._data_dir).parts:
            assert isinstance(found, Folder)
            found = found.now[part]
        assert isinstance(found, Folder)
        return found

    def _within(self, path: Path) -> bool:
        return path == self._data_dir or self._data_dir in path.parents
