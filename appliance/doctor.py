"""`ensueno doctor`: look at everything a box needs and say, for what is wrong, what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw

from appliance.config import Settings
from appliance.errors import EnsuenoError
from appliance.journal import Journal
from appliance.pipeline.manifest import Bundle


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    good: bool
    detail: str

    def as_line(self) -> str:
        return f"{'✓' if self.good else '✗'} {self.name:<10} {self.detail}"


def examine(settings: Settings) -> list[Finding]:
    """Every check, none skipped because another failed."""
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("python", _python),
        ("sqlite", _sqlite),
        ("data dir", _data_dir),
        ("disk", _disk),
        ("memory", _memory),
        ("bundle", _bundle),
        ("engine", _engine),
    ]
    return [_look(name, check, settings) for name, check in checks]


def _look(name: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(name, True, check(settings))
    except (EnsuenoError, OSError) as error:
        return Finding(name, False, str(error))


def _python(settings: Settings) -> str:
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise EnsuenoError(f"Python {platform.python_version()} is untested: use 3.10 to 3.13.")
    return f"{platform.python_version()} on {platform.machine()}"


def _sqlite(settings: Settings) -> str:
    if settings.journal_path.is_file():
        Journal(settings.journal_path)
    return apsw.sqlite_lib_version()


def _data_dir(settings: Settings) -> str:
    folder = _existing(settings.data_dir)
    if not os.access(folder, os.W_OK):
        raise EnsuenoError(f"{folder} cannot be written: choose another --data-dir or give yourself the right.")
    return str(settings.data_dir)


def _disk(settings: Settings) -> str:
    free = shutil.disk_usage(_existing(settings.data_dir)).free >> 20
    if free < settings.reserve_mib:
        raise EnsuenoError(f"Only {free} MiB are free: make room on the disk.")
    return f"{free} MiB free"


def _memory(settings: Settings) -> str:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) >> 10
    if free < 300:
        raise EnsuenoError(f"Only {free} MiB of memory are free: close other programs.")
    return f"{free} MiB available"


def _bundle(settings: Settings) -> str:
    bundle = Bundle.open(settings.bundle)
    bundle.verify()
    return f"{bundle.manifest.title}, {len(bundle.manifest.files)} files, all whole"


def _engine(settings: Settings) -> str:
    from appliance.pipeline.text_to_image import TextToImage

    pipeline = TextToImage.load(Bundle.open(settings.bundle), threads=settings.threads)
    pipeline.close()
    return f"{pipeline.engine_name} loads the bundle"


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
