"""Which rungs of the ladder killed the process: a library that crashes when it is loaded must not do so for ever.

Before a rung is tried a mark is written, and its process holds a lock on it; a process that lives to take the mark away
does, whatever came of the rung. So a mark that nobody holds was left by a process that died, or was killed for taking
too long. After two of those the rung is passed over, until what it is made of is another.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from appliance import __version__, durable
from appliance.errors import NoEngine
from appliance.pipeline.manifest import MANIFEST, Bundle, sha256
from appliance.plans import gpu
from appliance.plans.passport import PASSPORT, engines_folder

Made = Mapping[str, str | None]

DEATHS = 2
_DRIVER = Path("/proc/driver/nvidia/version")


@contextmanager
def attempted(folder: Path, rung: str, made_of: Made) -> Iterator[None]:
    """Around the loading of a rung. Raises `NoEngine` when processes died of it, made of the very same, before.

    A disk that takes no mark costs no rung.
    """
    left = [path for path in folder.glob(f"{rung}.*.mark") if not _held(path)]
    for path in [path for path in left if _read(path) != made_of]:
        left.remove(path)
        path.unlink(missing_ok=True)
    if len(left) >= DEATHS:
        raise NoEngine(
            f"The process died {len(left)} times while it was loaded: install another version, or build the plans "
            f"again; to try it once more as it is, delete {folder}."
        )
    with _marked(folder, rung, made_of):
        yield
    for path in left:  # it can be loaded after all
        path.unlink(missing_ok=True)


def made_of(libraries: Sequence[str], bundle: Bundle, data_dir: Path) -> Made:
    """What decides whether a rung can be loaded, asked of nothing that might crash: `libraries` are distributions."""
    plans = [path.stat().st_mtime_ns for path in engines_folder(data_dir).glob(f"*/{PASSPORT}")]
    return {
        "ensueno": __version__,
        "bundle": sha256(bundle.folder / MANIFEST),
        "plans": str(max(plans, default=None)),
        "driver": _driver() or gpu.l4t(),
        **{library: _version(library) for library in libraries},
    }


@contextmanager
def _marked(folder: Path, rung: str, made_of: Made) -> Iterator[None]:
    path = folder / f"{rung}.{secrets.token_hex(4)}.mark"
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            durable.private_folder(folder)
            draft = path.with_suffix(".draft")
            file = held.enter_context(draft.open("wb"))
            held.callback(path.unlink, missing_ok=True)
            file.write(json.dumps(dict(made_of)).encode())
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX)  # before anybody can see it
            draft.rename(path)
            durable.sync_folder(folder)
        yield


def _held(path: Path) -> bool:
    """Whether the process that wrote it lives."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _read(path: Path) -> object:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    try:
        return _DRIVER.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        return None
