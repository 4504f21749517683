"""The disk that loses its power: what was synced survives every cut, and what was not is now there, now not."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from torture.disk import SECTOR, File, Folder

WRITES = st.lists(
    st.builds(lambda offset, size, byte: (offset, bytes([byte]) * size), st.integers(0, 2000), st.integers(1, 1500),
              st.integers(1, 255)),
    max_size=4,
)  # fmt: skip
PATIENT = settings(max_examples=30)


def written(writes: list[tuple[int, bytes]]) -> bytes:
    content = bytearray()
    for offset, data in writes:
        content.extend(bytes(max(0, offset + len(data) - len(content))))
        content[offset : offset + len(data)] = data
    return bytes(content)


@PATIENT
@given(WRITES, st.integers())
def test_a_synced_file_is_found_as_it_was_written(writes: list[tuple[int, bytes]], seed: int) -> None:
    file = File()
    for offset, data in writes:
        file.write(offset, data)
    file.sync()
    assert file.after_a_cut(random.Random(seed)) == written(writes)


@PATIENT
@given(WRITES, WRITES, st.integers())
def test_each_sector_of_the_rest_is_old_or_new(
    kept: list[tuple[int, bytes]], one: list[tuple[int, bytes]], seed: int
) -> None:
    file = File()
    for offset, data in kept:
        file.write(offset, data)
    file.sync()
    for offset, data in one[:1]:
        file.write(offset, data)
    found = file.after_a_cut(random.Random(seed))
    old, new = written(kept), written(kept + one[:1])
    size = max(len(old), len(new))
    old, new, found = (content.ljust(size, b"\0") for content in (old, new, found))
    for begin in range(0, size, SECTOR):
        sector = slice(begin, begin + SECTOR)
        assert found[sector] in (old[sector], new[sector])


@PATIENT
@given(st.integers(0, 2**32))
def test_a_rename_happens_whole_or_not_at_all_and_a_synced_one_always(seed: int) -> None:
    folder, file, other = Folder(), File(), File()
    file.write(0, b"first")
    file.sync()
    folder.change({"draft": file})
    folder.sync()
    folder.change({"draft": None, "name": file})
    folder.change({"later": other})
    assert set(folder.now) == {"name", "later"}
    assert found_in(folder, seed) in ({"draft"}, {"name"}, {"name", "later"})
    folder.sync()
    assert found_in(folder, seed) == {"name", "later"}


def found_in(folder: Folder, seed: int) -> set[str]:
    with tempfile.TemporaryDirectory() as where:
        folder.after_a_cut(random.Random(seed), Path(where))
        return {path.name for path in Path(where).iterdir()}
