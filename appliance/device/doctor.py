"""`ensueno doctor`: look at everything a box needs and say, for what is wrong, what to do."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from appliance.config import Settings
from appliance.device import health, jetson, reachable, sandbox, sensors
from appliance.device.as_owner import as_owner
from appliance.device.finding import Finding, Watch, unforeseen
from appliance.device.sensors import Sensors
from appliance.device.tegrastats import sample
from appliance.errors import EnsuenoError
from appliance.journal import Journal, sqlite_version
from appliance.journal_check import note
from appliance.network import certificate
from appliance.pipeline.manifest import Bundle
from appliance.prompt_filter import filtered

Check = Callable[[Settings], str]
_EARLIEST = 1_767_225_600  # 1 January 2026: a clock before that was never set
_CLOCK_ERROR = 5  # adjtimex: nobody keeps this clock right
_SMALL_BLOCKS = 64 << 20  # bytes; with less in the largest free blocks a model may not load


def examine(settings: Settings, root: Path = Path("/")) -> list[Finding]:
    """Every check, none skipped because another failed. `root` is where sysfs, procfs and /etc are read."""
    found = sensors.read(root)
    checks: list[tuple[str, Check]] = [
        ("python", _python),
        ("settings", _settings),
        ("sqlite", _sqlite),
        ("clock", _clock),
        ("data dir", _data_dir),
        ("rights", _rights),
        *_from_health(found),
        ("bundle", _bundle),
        ("fit", lambda settings: _fit(settings, found)),
        ("engine", _engine),
        ("port", reachable.port),
        ("broker", reachable.broker),
    ]
    if found.jetson:
        checks += _of_a_jetson(found, root)
    return [_look(name, check, settings) for name, check in checks]


def _look(name: str, check: Check, settings: Settings) -> Finding:
    try:
        return Finding(name, "good", check(settings))
    except Watch as watch:
        return Finding(name, "watch", str(watch))
    except EnsuenoError as error:
        return Finding(name, "bad", str(error))
    except PermissionError as error:
        return Finding(name, "bad", f"{error.filename} may not be looked at: ask as the box's user, or with sudo.")
    except Exception as error:  # no check may hide the others
        return Finding(name, "bad", unforeseen(error))


def _of_a_jetson(found: Sensors, root: Path) -> list[tuple[str, Check]]:
    return [
        ("jetpack", lambda _: jetson.jetpack(found)),
        ("tensorrt", lambda _: jetson.tensorrt(found, root)),
        ("power mode", lambda _: jetson.power_mode(found)),
        ("gpu", lambda _: jetson.gpu_access(found, root)),
        ("blocks", lambda _: _blocks()),
        ("sandbox", lambda _: _sandbox(root)),
    ]


def _from_health(found: Sensors) -> list[tuple[str, Check]]:
    """The box's own view of itself, one line for each of its parts."""
    memory, zone = found.memory, found.hottest
    parts = {
        "disk": (("disk", "disk_full"), "{free} MiB free"),
        "memory": (("memory",), f"{memory.available >> 20} MiB available"),
        "swap": (("swapping",), f"{memory.swap_free >> 20} of {memory.swap_total >> 20} MiB free"),
        "heat": (("hot", "throttled", "warm"), "unknown here" if zone is None else f"{zone.celsius:.0f} °C"),
        "supply": (("undervoltage",), "no loss of voltage seen"),
    }

    def told(kinds: tuple[str, ...], good: str, settings: Settings) -> str:
        usage = shutil.disk_usage(_existing(settings.data_dir))
        disk = health.Disk(usage.total, usage.free)
        for trouble in health.examine(found, disk, settings.reserve_mib << 20).troubles:
            if trouble.kind in kinds:
                raise EnsuenoError(trouble.sentence) if trouble.level == "bad" else Watch(trouble.sentence)
        return good.format(free=usage.free >> 20)

    return [(name, partial(told, *part)) for name, part in parts.items()]


def _python(settings: Settings) -> str:
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise EnsuenoError(f"Python {platform.python_version()} is untested: use 3.10 to 3.13.")
    return f"{platform.python_version()} on {platform.machine()}"


def _settings(settings: Settings) -> str:
    """What `ensueno serve` makes of them at its start, but for what has a line of its own."""
    certificate.there(settings)
    filtered(settings.prompt_filter, lambda request: None)
    return "`ensueno serve` takes them"


def _sqlite(settings: Settings) -> str:
    if settings.journal_path.is_file():
        Journal(settings.journal_path)
    damage = note(settings.journal_path)
    if damage is not None:
        raise Watch(damage)
    return sqlite_version()


def _clock(settings: Settings) -> str:
    if time.time() < _EARLIEST:
        raise EnsuenoError("The clock was never set: connect the box to a time server, or set it with `date -s`.")
    if ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) == _CLOCK_ERROR:
        raise Watch("Nobody keeps the clock right: start systemd-timesyncd or chrony where there is a time server.")
    return "set, and kept right"


def _data_dir(settings: Settings) -> str:
    folder = _existing(settings.data_dir)
    if not os.access(folder, os.W_OK):
        raise EnsuenoError(f"{folder} cannot be written: choose another --data-dir or give yourself the right.")
    return str(settings.data_dir)


def _rights(settings: Settings) -> str:
    folder = settings.data_dir
    if not folder.exists():
        return "nothing is kept yet"
    if folder.stat().st_uid not in (os.getuid(), 0) and os.getuid() != 0:
        raise EnsuenoError(f"{folder} belongs to another user: run Ensueño as that user.")
    if folder.stat().st_mode & 0o077:
        raise Watch(f"Other users of this machine can read {folder}: chmod 700 {folder}.")
    return "what is kept is its user's alone"


def _bundle(settings: Settings) -> str:
    bundle = Bundle.open(settings.bundle)
    if settings.picture_check == "on":
        bundle.require_picture_check()
    bundle.verify()
    return f"{bundle.manifest.title}, {len(bundle.manifest.files)} files, all whole"


def _fit(settings: Settings, found: Sensors) -> str:
    """Weights once, and as much again for activations and what loading copies: a rule of thumb."""
    weights = sum(entry.bytes for entry in Bundle.open(settings.bundle).manifest.files.values())
    if 2 * weights > found.memory.total:
        raise EnsuenoError(
            f"The bundle has {weights >> 20} MiB and this box {found.memory.total >> 20} MiB of memory in all: "
            "choose a smaller model."
        )
    return f"{weights >> 20} MiB of weights in {found.memory.total >> 20} MiB of memory"


def _engine(settings: Settings) -> str:
    from appliance.ladder import ladder

    with as_owner(settings.data_dir):  # golden pictures and attempts are kept there
        climbed = ladder.climb(Bundle.open(settings.bundle), settings)
    climbed.pipeline.close()
    return "\n".join([f"{climbed.pipeline.engine_name} loads the bundle", *climbed.passed_over])


def _blocks() -> str:
    told = sample()
    if told is None or told.largest_free_blocks is None:
        raise Watch("How broken up the memory is, is unknown: ask `tegrastats`.")
    count, size = told.largest_free_blocks
    if count * size < _SMALL_BLOCKS:
        raise Watch(
            f"The largest free memory blocks are {count} of {size >> 20} MiB: restart the board if a model fails."
        )
    return f"{count} free blocks of {size >> 20} MiB"


def _sandbox(root: Path) -> str:
    if os.getuid() != 0:
        raise Watch("The engine's sandbox was not tried: run `sudo ensueno doctor`.")
    return sandbox.check(root)


def _existing(folder: Path) -> Path:
    while not os.path.exists(folder):  # pathlib's fails where a folder above may not be looked into
        folder = folder.parent
    return folder
