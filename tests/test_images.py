"""A picture is on the disk, whole, before anyone hears of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import NoRoom, NotFound
from appliance.ids import new_id
from appliance.images import ImageStore

NAME = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


class PowerCut(BaseException):
    """Nothing after this is run, not even an `except OSError`."""


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_saved_picture_is_found_again(store: ImageStore) -> None:
    name = new_id()
    path = store.save(name, b"a picture")
    assert store.path(name) == path
    assert path.read_bytes() == b"a picture"


def test_saving_again_replaces(store: ImageStore, tmp_path: Path) -> None:
    store.save(NAME, b"old")
    store.save(NAME, b"new")
    assert store.path(NAME).read_bytes() == b"new"
    assert files(tmp_path) == [f"{NAME}.png"]


def test_the_bytes_then_the_name_then_the_folder_reach_the_disk(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(handle: int) -> None:
        done.append(("fsync", str(Path(os.readlink(f"/proc/self/fd/{handle}")).relative_to(tmp_path))))
        fsync(handle)

    def noted_rename(path: Path, target: Path) -> Path:
        assert path.read_bytes() == b"a picture"
        done.append(("rename", str(target.relative_to(tmp_path))))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    store.save(NAME, b"a picture")
    assert done == [
        ("fsync", f"images/AV/{NAME}.png.partial"),
        ("rename", f"images/AV/{NAME}.png"),
        ("fsync", "images/AV"),
        ("fsync", "images"),
    ]


@pytest.mark.parametrize("moment", ["write", "fsync", "rename"])
@pytest.mark.parametrize("before", [None, b"the old picture"])
def test_a_power_cut_leaves_the_old_picture_or_none(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch, moment: str, before: bytes | None
) -> None:
    if before is not None:
        store.save(NAME, before)
    with monkeypatch.context() as patched:
        break_at(moment, PowerCut(), patched)
        with pytest.raises(PowerCut):
            store.save(NAME, b"the new picture")
    if before is None:
        with pytest.raises(NotFound):
            store.path(NAME)
    else:
        assert store.path(NAME).read_bytes() == before
    store.save(NAME, b"the new picture")
    assert store.path(NAME).read_bytes() == b"the new picture"


@pytest.mark.parametrize("moment", ["write", "fsync", "rename"])
@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room on the disk."),
        (errno.EDQUOT, "make room on the disk."),
        (errno.EIO, "check the disk."),
    ],
)
def test_a_full_or_failing_disk_is_told_and_leaves_no_draft(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, number: int, remedy: str
) -> None:
    with monkeypatch.context() as patched:
        break_at(moment, OSError(number, os.strerror(number)), patched)
        with pytest.raises(NoRoom) as caught:
            store.save(NAME, b"a picture")
    assert str(caught.value) == f"The picture could not be stored ({os.strerror(number)}): {remedy}"
    assert files(tmp_path) == []


def break_at(moment: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any, **__: Any) -> Any:
        raise error

    target: Any = Path if moment == "rename" else os
    monkeypatch.setattr(target, {"write": "open"}.get(moment, moment), fault)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../" * 8 + "etc/passwd", "/etc/passwd", f"../AV/{NAME}", f"{NAME}\n", f"{NAME}\0", f"{NAME}.png",
     f"{NAME}/..", NAME.lower(), "0" * 26 + "/", "\ud800", "..%2f", "é" * 26],
)  # fmt: skip
def test_no_string_from_outside_becomes_a_path(store: ImageStore, name: str) -> None:
    store.save(NAME, b"a picture")
    with pytest.raises(NotFound, match="There is no such picture"):
        store.path(name)


def test_a_folder_named_like_a_picture_is_none(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "images" / "AV" / f"{NAME}.png").mkdir(parents=True)
    with pytest.raises(NotFound):
        store.path(NAME)
