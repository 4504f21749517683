"""A bundle from outside: nothing of it is believed, and what fails leaves nothing behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.bundles.install import install
from appliance.bundles.slots import Slots
from appliance.errors import BadBundle, BadInput, EnsuenoError, NoRoom
from appliance.pipeline.manifest import Bundle
from tests.tiny_bundles import make_tiny_bundle, write_manifest

PICKLE = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtin\x94."


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    return Slots(tmp_path / "data")


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def tarred(folder: Path, to: Path, top: str = "", change: Callable[[tarfile.TarInfo], object] | None = None) -> Path:
    def visit(member: tarfile.TarInfo) -> tarfile.TarInfo:
        if change is not None:
            change(member)
        return member

    with tarfile.open(to, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, top + path.relative_to(folder).as_posix(), recursive=False, filter=visit)
    return to


def refusal(source: Path, slots: Slots, kind: type[EnsuenoError] = BadBundle) -> str:
    with pytest.raises(kind) as caught:
        install(source, slots)
    assert not slots.names()
    assert not list(slots.folder.glob(".*")), "nothing half-made stays"
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("top", ["", "tiny/", "./"])
def test_a_tar_and_a_folder_are_the_same_bundle(copy: Path, tmp_path: Path, top: str) -> None:
    for number, source in enumerate((copy, tarred(copy, tmp_path / "tiny.tar", top))):
        slots = Slots(tmp_path / str(number))
        assert install(source, slots) == "tiny-0.0.1"
        Bundle.open(slots.folder / "tiny-0.0.1").verify()


def test_installing_again_changes_nothing(copy: Path, slots: Slots) -> None:
    install(copy, slots)
    before = (slots.folder / "tiny-0.0.1").stat().st_mtime_ns
    assert install(copy, slots) == "tiny-0.0.1"
    assert (slots.folder / "tiny-0.0.1").stat().st_mtime_ns == before


def test_another_bundle_of_the_same_name_and_version_is_refused(copy: Path, slots: Slots, tmp_path: Path) -> None:
    install(copy, slots)
    with pytest.raises(BadInput, match="export this one with another --version"):
        install(make_tiny_bundle(tmp_path / "other", licence="MIT"), slots)


def test_only_what_the_manifest_lists_is_taken(copy: Path, slots: Slots) -> None:
    (copy / "notes.txt").write_text("hello")
    install(copy, slots)
    files = {path.relative_to(slots.folder / "tiny-0.0.1").as_posix() for path in slots.folder.rglob("*.*")}
    assert "notes.txt" not in files


@pytest.mark.parametrize("name", ["onnx/unet.onnx", "onnx/unet.onnx.data", "tokenizer/tokenizer.json"])
@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"X" + data[1:]])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar"])
def test_a_file_that_differs_is_refused(
    copy: Path, slots: Slots, tmp_path: Path, name: str, damage: Callable[[bytes], bytes], packed: bool
) -> None:
    (copy / name).write_bytes(damage((copy / name).read_bytes()))
    source = tarred(copy, tmp_path / "x.tar") if packed else copy
    assert refusal(source, slots).startswith(f"{name} is not the file that was exported")


def test_a_missing_file_is_refused(copy: Path, slots: Slots, tmp_path: Path) -> None:
    (copy / "onnx/unet.onnx").unlink()
    assert "onnx/unet.onnx is missing" in refusal(copy, slots)
    assert "onnx/unet.onnx is missing" in refusal(tarred(copy, tmp_path / "x.tar"), slots)


def test_what_is_neither_is_bad_input(slots: Slots, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for name in ("nowhere", "text"):
        assert "neither a bundle's folder nor a plain .tar" in refusal(tmp_path / name, slots, BadInput)
    (tmp_path / "empty").mkdir()
    assert "manifest.json is missing" in refusal(tmp_path / "empty", slots)


def test_a_compressed_archive_is_refused(copy: Path, slots: Slots, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(copy, "tiny")
    assert "plain .tar" in refusal(tmp_path / "x.tar.gz", slots)


def test_a_truncated_archive_is_refused(copy: Path, slots: Slots, tmp_path: Path) -> None:
    whole = tarred(copy, tmp_path / "x.tar").read_bytes()
    for size in (len(whole) // 2, 700, 513):
        (tmp_path / "x.tar").write_bytes(whole[:size])
        refusal(tmp_path / "x.tar", slots, BadInput)


# --- ways out ----------------------------------------------------------------------------------------------------

ESCAPES = ["../escape", "/etc/escape", "onnx/../../escape", "..\\escape"]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leads_out_of_an_archive_is_refused(copy: Path, slots: Slots, tmp_path: Path, name: str) -> None:
    archive = tarred(copy, tmp_path / "x.tar")
    with tarfile.open(archive, "a") as more:
        member = tarfile.TarInfo(name)
        member.size = 1
        more.addfile(member, io.BytesIO(b"x"))
    assert "leads out of the bundle" in refusal(archive, slots)
    assert not list(tmp_path.rglob("escape"))


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leads_out_of_the_manifest_is_refused(copy: Path, slots: Slots, name: str) -> None:
    text = json.loads((copy / "manifest.json").read_text())
    text["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    (copy / "manifest.json").write_text(json.dumps(text))
    assert "leads out of the bundle" in refusal(copy, slots)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("to", ["../../secret", "/etc/passwd"])
def test_a_link_out_of_an_archive_is_refused(copy: Path, slots: Slots, tmp_path: Path, kind: bytes, to: str) -> None:
    def link(member: tarfile.TarInfo) -> None:
        if member.name == "onnx/unet.onnx":
            member.type, member.linkname, member.size = kind, to, 0

    assert "link that leads out" in refusal(tarred(copy, tmp_path / "x.tar", change=link), slots)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_in_an_archive_is_refused(copy: Path, slots: Slots, tmp_path: Path, kind: bytes) -> None:
    def device(member: tarfile.TarInfo) -> None:
        if member.name == "onnx/unet.onnx":
            member.type, member.size = kind, 0

    assert "neither a file nor a folder" in refusal(tarred(copy, tmp_path / "x.tar", change=device), slots)


def test_a_link_out_of_a_folder_is_refused(copy: Path, slots: Slots, tmp_path: Path) -> None:
    path = copy / "onnx/unet.onnx"
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    assert "link that leads out" in refusal(copy, slots)


def test_a_fifo_in_a_folder_is_no_file(copy: Path, slots: Slots) -> None:
    (copy / "onnx/unet.onnx").unlink()
    os.mkfifo(copy / "onnx/unet.onnx")
    assert "is missing" in refusal(copy, slots)


# --- pickles, sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.ckpt", "unet/weights.PT", "x.pkl"])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar"])
def test_a_pickle_beside_the_bundle_is_refused(
    copy: Path, slots: Slots, tmp_path: Path, name: str, packed: bool
) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(PICKLE)
    source = tarred(copy, tmp_path / "x.tar") if packed else copy
    assert "may be a pickle" in refusal(source, slots)


def test_a_pickle_under_another_name_is_refused(copy: Path, slots: Slots) -> None:
    (copy / "onnx/weights.safetensors").write_bytes(PICKLE)
    write_manifest(copy, json.loads((copy / "manifest.json").read_text()))
    assert "onnx/weights.safetensors is a pickle" in refusal(copy, slots)


def listed_as(copy: Path, size: int) -> None:
    text: dict[str, Any] = json.loads((copy / "manifest.json").read_text())
    text["files"]["onnx/unet.onnx"] = {"sha256": hashlib.sha256().hexdigest(), "bytes": size}
    (copy / "manifest.json").write_text(json.dumps(text))


def test_a_bundle_beyond_every_measure_is_refused(copy: Path, slots: Slots) -> None:
    listed_as(copy, 65 << 30)
    assert "over the limit of 64" in refusal(copy, slots)


def test_a_bundle_that_does_not_fit_is_refused_before_it_is_copied(
    copy: Path, slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1 << 20))
    assert "make room" in refusal(copy, slots, NoRoom)


def test_an_archive_of_too_many_files_is_refused(copy: Path, slots: Slots, tmp_path: Path) -> None:
    archive = tarred(copy, tmp_path / "x.tar")
    with tarfile.open(archive, "a") as more:
        for number in range(20_001):
            more.addfile(tarfile.TarInfo(f"n{number}"))
    assert "20,000 files" in refusal(archive, slots)
