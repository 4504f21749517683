"""A disk that may lose its power: what was synced is kept; of the rest anything may be there, whole, torn or not.

A file's bytes are kept once the file was synced, its name once its folder was. Of what came after, each write may be
there, or not, or some of its sectors only, in any order; of a folder's changes of names, the first few.
"""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

SECTOR = 512


class File:
    """Bytes that are kept, and writes that may be."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._pending: list[tuple[int, bytes | None]] = []  # offset and data; or a size, to be cut or grown to

    def write(self, offset: int, data: bytes) -> None:
        self._pending.append((offset, data))

    def truncate(self, size: int) -> None:
        self._pending.append((size, None))

    def sync(self) -> None:
        for change in self._pending:
            _apply(self._kept, *change)
        self._pending.clear()

    def after_a_cut(self, chance: random.Random) -> bytes:
        """Its bytes, as they may be found."""
        found = bytearray(self._kept)
        for where, data in self._pending:
            fate = chance.choice(("lost", "whole", "torn"))
            if fate == "whole" or (fate == "torn" and data is None):
                _apply(found, where, data)
            elif fate == "torn" and data is not None:
                for begin, end in _sectors(where, len(data)):
                    if chance.random() < 0.5:
                        _apply(found, where + begin, data[begin:end])
        return bytes(found)


class Folder:
    """Names that are kept, and changes of names that may be. `now` is what running processes see."""

    def __init__(self) -> None:
        self.now: dict[str, File | Folder] = {}
        self._kept: dict[str, File | Folder] = {}
        self._pending: list[dict[str, File | Folder | None]] = []

    def change(self, change: dict[str, File | Folder | None]) -> None:
        """Names and what they stand for from now on; None is nothing. All of one change happens, or none of it."""
        _rename(self.now, change)
        self._pending.append(change)

    def sync(self) -> None:
        for change in self._pending:
            _rename(self._kept, change)
        self._pending.clear()

    def after_a_cut(self, chance: random.Random, where: Path) -> None:
        """Write what may be found into `where`."""
        where.mkdir(parents=True, exist_ok=True)
        found = dict(self._kept)
        for change in self._pending[: chance.randint(0, len(self._pending))]:
            _rename(found, change)
        for name, node in found.items():
            if isinstance(node, Folder):
                node.after_a_cut(chance, where / name)
            else:
                (where / name).write_bytes(node.after_a_cut(chance))


def _rename(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _apply(content: bytearray, where: int, data: bytes | None) -> None:
    end = where if data is None else where + len(data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is None:
        del content[where:]
    else:
        content[where:end] = data


def _sectors(offset: int, size: int) -> list[tuple[int, int]]:
    """The parts of a write, relative to its data, that lie in one sector each."""
    first = SECTOR - offset % SECTOR
    edges = [0, *range(first, size, SECTOR), size]
    return [(begin, end) for begin, end in pairwise(edges) if begin < end]
