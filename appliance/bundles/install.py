"""`ensueno model install`: a folder or a .tar becomes a slot, and nothing of it is believed before it was checked.

Order: names (none may lead out), manifest, sizes, room on the disk; then only the files that the manifest lists are
copied, each hashed on the way. No network, tokenizer or weights are parsed before every hash has held.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from appliance import durable
from appliance.bundles.slots import Slots
from appliance.errors import BadBundle, BadInput, NoRoom
from appliance.pipeline.manifest import MANIFEST, MANIFEST_HASH, PICKLES, Bundle, FileEntry, sha256

_MOST_FILES = 20_000
_LARGEST_MANIFEST = 16 << 20
_LARGEST_BUNDLE = 64 << 30
_KEPT_FREE = 256 << 20
_PICKLE_MAGIC = re.compile(rb"\x80[\x02-\x05]")


class Source(Protocol):
    """Where a bundle comes from: its files by name, relative to the manifest."""

    def names(self) -> list[str]:
        """Every file, listed or not; asked for first. Raises `BadBundle` where a name or a link leads out."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a file, relative to the manifest."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Raises `BadBundle` when there is no such regular file."""
        ...


def install(path: Path, slots: Slots) -> str:
    """→ the slot's name; installing the same bundle again changes nothing. Raises `BadInput`, `BadBundle`, `NoRoom`."""
    with _opened(path) as source:
        _check_names(source.names())
        try:
            durable.private_folder(slots.folder)
            place = Path(tempfile.mkdtemp(prefix=".incoming.", dir=slots.folder))
        except OSError as error:
            raise BadInput(f"{slots.folder} cannot be used ({error.strerror}): choose another --data-dir.") from None
        try:
            return _install(source, place, slots)
        except OSError as error:
            raise NoRoom(f"The bundle could not be stored ({error.strerror}): make room, or check the disk.") from None
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _install(source: Source, place: Path, slots: Slots) -> str:
    for name in (MANIFEST, MANIFEST_HASH) if source.has(MANIFEST_HASH) else (MANIFEST,):
        with source.open(name) as file:
            text = file.read(_LARGEST_MANIFEST + 1)
        if len(text) > _LARGEST_MANIFEST:
            raise BadBundle(f"Its {name} is over {_LARGEST_MANIFEST >> 20} MiB: export the bundle again.")
        durable.write(place / name, text)
    bundle = Bundle.open(place)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{bundle.manifest.name}-{bundle.manifest.version}")
    if name in slots.names():
        if sha256(slots.folder / name / MANIFEST) == sha256(place / MANIFEST):
            return name
        raise BadInput(f"Another bundle is installed as {name}: export this one with another --version.")
    _check_room(bundle, slots.folder)
    for file_name, entry in bundle.manifest.files.items():
        _copy(source, file_name, entry, place)
    for folder in {path.parent for path in place.rglob("*")}:
        durable.sync_folder(folder)
    place.rename(slots.folder / name)
    durable.sync_folder(slots.folder)
    return name


def _check_names(names: list[str]) -> None:
    if len(names) > _MOST_FILES:
        raise BadBundle(f"It holds over {_MOST_FILES:,} files, which no bundle does: export the bundle again.")
    for name in names:
        if name.lower().endswith(PICKLES):
            raise BadBundle(
                f"{name} may be a pickle, which runs code when it is read: save the weights as safetensors."
            )


def _check_room(bundle: Bundle, folder: Path) -> None:
    size = sum(entry.bytes for entry in bundle.manifest.files.values())
    if size > _LARGEST_BUNDLE:
        raise BadBundle(
            f"It says to hold {size >> 30} GiB, over the limit of {_LARGEST_BUNDLE >> 30}: export it again."
        )
    free = shutil.disk_usage(folder).free
    if size + _KEPT_FREE > free:
        raise NoRoom(f"The bundle needs {size >> 20} MiB and {free >> 20} are free on {folder}: make room.")


def _copy(source: Source, name: str, entry: FileEntry, place: Path) -> None:
    """Never more bytes than the manifest says; on the disk when this returns."""
    digest, left = hashlib.sha256(), entry.bytes
    target = place / name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with source.open(name) as file, target.open("xb") as copy:
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            if left == entry.bytes and _PICKLE_MAGIC.match(piece):
                raise BadBundle(
                    f"{name} is a pickle, which runs code when it is read: save the weights as safetensors."
                )
            digest.update(piece)
            copy.write(piece)
            left -= len(piece)
        more = file.read(1)
        copy.flush()
        os.fsync(copy.fileno())
    if left or more or digest.hexdigest() != entry.sha256:
        raise BadBundle(f"{name} is not the file that was exported (sha256 differs): copy the bundle again.")


@contextmanager
def _opened(path: Path) -> Iterator[Source]:
    if path.is_dir():
        yield _Folder(path)
        return
    if not (path.is_file() and tarfile.is_tarfile(path)):
        raise BadInput(f"{path} is neither a bundle's folder nor a plain .tar of one: name one of these.")
    try:
        with tarfile.open(path, "r:") as archive:  # uncompressed: nothing can grow while it is read
            yield _Tar(archive)
    except (tarfile.TarError, EOFError):
        raise BadBundle(f"{path} is damaged, or compressed: make it again as a plain .tar.") from None


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        root = self._folder.resolve()
        names = []
        for path in self._folder.rglob("*"):
            name = path.relative_to(self._folder).as_posix()
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise BadBundle(f"{name} is a link that leads out of the bundle: copy the bundle again.")
            if not path.is_dir():
                names.append(name)
        return names

    def has(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def open(self, name: str) -> BinaryIO:
        path = self._folder / name
        if not path.is_file() or not path.resolve().is_relative_to(self._folder.resolve()):
            raise BadBundle(f"{name} is missing: name a bundle's folder, and copy it again if it is one.")
        return path.open("rb")


class _Tar:
    """The bundle may lie at the top of the archive or in one folder."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        self._top = ""

    def names(self) -> list[str]:
        for member in self._archive:
            self._take(member)
            if len(self._members) > _MOST_FILES:
                break
        manifests = [name for name in self._members if PurePosixPath(name).name == MANIFEST]
        nearest = min(manifests, key=lambda name: name.count("/"), default=MANIFEST)
        self._top = nearest.removesuffix(MANIFEST)
        return list(self._members)

    def _take(self, member: tarfile.TarInfo) -> None:
        name = _normal(member.name)
        if name is None:
            raise BadBundle(f"{member.name[:80]} leads out of the bundle: do not use this archive.")
        if member.islnk() or member.issym():
            linked = member.linkname if member.islnk() else str(PurePosixPath(member.name).parent / member.linkname)
            if _normal(linked) is None:
                raise BadBundle(f"{name[:80]} is a link that leads out of the bundle: do not use this archive.")
        elif not (member.isreg() or member.isdir()):
            raise BadBundle(f"{name[:80]} is neither a file nor a folder: do not use this archive.")
        if not member.isdir():
            self._members[name] = member

    def has(self, name: str) -> bool:
        return self._top + name in self._members

    def open(self, name: str) -> BinaryIO:
        """Links are not followed: what the manifest lists must be files."""
        member = self._members.get(self._top + name)
        file = self._archive.extractfile(member) if member is not None and member.isreg() else None
        if file is None:
            raise BadBundle(f"{name} is missing from the archive: make it from a bundle's folder again.")
        return file  # type: ignore[return-value]  # BufferedReader reads as BinaryIO does


def _normal(name: str) -> str | None:
    """Without `.` and `..`; None where that leads out of the archive."""
    if name.startswith("/") or "\\" in name or "\0" in name:
        return None
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
