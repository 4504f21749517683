"""`ensueno doctor`: look at everything a box needs and say, for what is wrong, what to do."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from appliance.config import Settings
from appliance.device import health, jetson, sandbox, sensors
from appliance.device.finding import Finding, Watch
from appliance.device.sensors import Sensors
from appliance.device.tegrastats import sample
from appliance.errors import EnsuenoError
from appliance.journal import Journal, sqlite_version
from appliance.journal_check import note
from appliance.pipeline.manifest import Bundle

Check = Callable[[Settings], str]
_EARLIEST = 1_767_225_600  # 1 January 2026: a clock before that was never set
_CLOCK_ERROR = 5  # adjtimex: nobody keeps this clock right
_SMALL_BLOCKS = 64 << 20  # bytes; with less in the largest free blocks a model may not load


def examine(settings: Settings, root: Path = Path("/")) -> list[Finding]:
    """Every check, none skipped because another failed. `root` is where sysfs, procfs and /etc are read."""
    found = sensors.read(root)
    checks: list[tuple[str, Check]] = [
        ("python", _python),
        ("sqlite", _sqlite),
        ("clock", _clock),
        ("data dir", _data_dir),
        ("rights", _rights),
        *_from_health(settings, found),
        ("bundle", _bundle),
        ("fit", lambda settings: _fit(settings, found)),
        ("engine", _engine),
        ("port", _port),
        ("broker", _broker),
    ]
    if found.jetson:
        checks += _of_a_jetson(found, root)
    return [_look(name, check, settings) for name, check in checks]


def _look(name: str, check: Check, settings: Settings) -> Finding:
    try:
        return Finding(name, "good", check(settings))
    except Watch as watch:
        return Finding(name, "watch", str(watch))
    except (EnsuenoError, OSError) as error:
        return Finding(name, "bad", str(error))


def _of_a_jetson(found: Sensors, root: Path) -> list[tuple[str, Check]]:
    return [
        ("jetpack", lambda _: jetson.jetpack(found)),
        ("tensorrt", lambda _: jetson.tensorrt(found, root)),
        ("power mode", lambda _: jetson.power_mode(found)),
        ("gpu", lambda _: jetson.gpu_access(found, root)),
        ("blocks", lambda _: _blocks()),
        ("sandbox", lambda _: _sandbox(root)),
    ]


def _from_health(settings: Settings, found: Sensors) -> list[tuple[str, Check]]:
    """The box's own view of itself, one line for each of its parts."""
    usage = shutil.disk_usage(_existing(settings.data_dir))
    disk = health.Disk(usage.total, usage.free)
    troubles = health.examine(found, disk, settings.reserve_mib << 20).troubles
    memory, zone = found.memory, found.hottest
    parts = {
        "disk": (("disk", "disk_full"), f"{disk.free >> 20} MiB free"),
        "memory": (("memory",), f"{memory.available >> 20} MiB available"),
        "swap": (("swapping",), f"{memory.swap_free >> 20} of {memory.swap_total >> 20} MiB free"),
        "heat": (("hot", "throttled", "warm"), "unknown here" if zone is None else f"{zone.celsius:.0f} °C"),
        "supply": (("undervoltage",), "no loss of voltage seen"),
    }

    def told(kinds: tuple[str, ...], good: str) -> str:
        for trouble in troubles:
            if trouble.kind in kinds:
                raise EnsuenoError(trouble.sentence) if trouble.level == "bad" else Watch(trouble.sentence)
        return good

    return [(name, lambda _, part=part: told(*part)) for name, part in parts.items()]  # type: ignore[misc]


def _python(settings: Settings) -> str:
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise EnsuenoError(f"Python {platform.python_version()} is untested: use 3.10 to 3.13.")
    return f"{platform.python_version()} on {platform.machine()}"


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

    climbed = ladder.climb(Bundle.open(settings.bundle), settings)
    climbed.pipeline.close()
    return "\n".join([f"{climbed.pipeline.engine_name} loads the bundle", *climbed.passed_over])


def _port(settings: Settings) -> str:
    """Free, or held by a box that answers."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    address = f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"
    try:
        url = f"{settings.scheme}://{address}/healthz"
        with urllib.request.urlopen(url, timeout=2, context=_whoever()) as answer:  # noqa: S310
            if b'"ok"' in answer.read(100):
                return f"a box answers at {address}"
    except urllib.error.HTTPError:
        pass
    except (OSError, ValueError):
        if _free(host, settings.port):
            return f"{settings.port} is free"
    raise EnsuenoError(f"Something else holds port {settings.port}: stop it or choose another --port.")


def _whoever() -> ssl.SSLContext:
    """It is asked whether it answers, and told nothing: any certificate will do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _broker(settings: Settings) -> str:
    url = getattr(settings, "mqtt", None)
    if not url:
        return "none is named"
    parts = urlsplit(str(url))
    port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=3).close()
    except OSError as error:
        raise EnsuenoError(
            f"The broker {parts.hostname}:{port} cannot be reached ({error.strerror or error}): check its address, "
            "the network and that it runs; telemetry waits on the disk meanwhile."
        ) from None
    return f"{parts.hostname}:{port} answers"


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
    while not folder.exists():
        folder = folder.parent
    return folder
