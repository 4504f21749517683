"""What is true only now, in memory: one overwritten file per running job, the engine's pulse, and the bell.

Nothing here is durable and nothing waits for the disk: the folder lies on tmpfs (`/run`, `/dev/shm`). The bell is a
unix datagram to every listener's socket; it carries a job id and only says "look again": the journal holds the truth,
so a lost ring costs a moment and never a job. For the same reason a full or vanished tmpfs fails nobody.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from appliance.errors import EnsuenoError
from appliance.figures import Figures
from appliance.ids import JOB_ID, new_id
from appliance.plans.passport import PassportState

ANYTHING = "*"
SYSTEM_BOARDS = Path("/run/ensueno")  # RuntimeDirectory= of the units
_LISTENING = 64
_SURE = 10  # rings that a socket holds for certain (net.unix.max_dgram_qlen); after more, some may be lost


class Progress(BaseModel):
    """How far a running job is. `previews` holds one base64 PNG for each of its pictures."""

    model_config = ConfigDict(frozen=True)

    step: int
    steps: int
    seconds_left: float | None = None
    previews: list[str] = []


class Pulse(BaseModel):
    """The engine's own word. `beat` is CLOCK_BOOTTIME in seconds of the last step or idle turn of its loop.

    `passed_over` has one sentence for each better engine that could not be used.
    `passport` is what became of its plans: opened, refused, not built, or it is no engine that has any.
    `bytes_per_pixel` is the memory that a pixel in flight takes, `proven_pixels` those of the largest job it finished.
    `patience` is how many seconds of silence are no cause for worry: a long legal step is not a hang.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    session: str
    engine: str
    bundle: str
    pictures: int = 0
    beat: float
    patience: float = 15.0
    seconds_per_picture: float | None = None
    bytes_per_pixel: float | None = None
    proven_pixels: int = 0
    note: str | None = None
    passed_over: list[str] = []
    passport: PassportState = "none"


class Board:
    """The shared folder. `Board(folder)` makes it with access for its owner only."""

    def __init__(self, folder: Path) -> None:
        self._jobs = folder / "jobs"
        self._bells = folder / "bells"
        self._pulse = folder / "engine.json"
        self._figures = folder / "figures.json"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise EnsuenoError(f"{folder} belongs to somebody else: remove it.")
        self._jobs.mkdir(exist_ok=True)
        self._bells.mkdir(exist_ok=True)

    def show(self, job_id: str, progress: Progress) -> None:
        """Overwrite the job's progress and ring."""
        _replace(self._jobs / f"{job_id}.json", progress.model_dump_json())
        self.ring(job_id)

    def progress(self, job_id: str) -> Progress | None:
        """The job's progress, if it runs. No string from outside becomes part of a path unchecked."""
        if not JOB_ID.fullmatch(job_id):
            return None
        try:
            return Progress.model_validate_json((self._jobs / f"{job_id}.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def clear(self, job_id: str) -> None:
        """The job runs no more: take its progress away and ring."""
        with contextlib.suppress(OSError):
            (self._jobs / f"{job_id}.json").unlink()
        self.ring(job_id)

    def clear_all(self) -> None:
        """A new engine begins with an empty board."""
        for path in self._jobs.iterdir():
            path.unlink(missing_ok=True)

    def beat(self, pulse: Pulse) -> None:
        """Overwrite the engine's pulse."""
        _replace(self._pulse, pulse.model_dump_json())

    def pulse(self) -> Pulse | None:
        """The engine's last word, or None when there was none since boot."""
        try:
            return Pulse.model_validate_json(self._pulse.read_bytes())
        except (OSError, ValidationError):
            return None

    def tell(self, figures: Figures) -> None:
        """Overwrite the engine's figures."""
        _replace(self._figures, figures.model_dump_json())

    def figures(self) -> Figures | None:
        """What the engine last told of its stages, or None."""
        try:
            return Figures.model_validate_json(self._figures.read_bytes())
        except (OSError, ValidationError):
            return None

    def ring(self, job_id: str = ANYTHING) -> None:
        """Wake every listener; never blocks, never fails; a dead listener's socket is swept away."""
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
        ):
            for path in self._bells.iterdir():
                try:
                    if stat.S_ISSOCK(path.lstat().st_mode):
                        sender.sendto(job_id.encode(), str(path))
                except ConnectionRefusedError:
                    path.unlink(missing_ok=True)
                except OSError:
                    pass  # a full socket already holds a ring

    def bell(self) -> Bell:
        """Begin to listen; use as a context manager."""
        return Bell(self._bells / new_id()[-12:])


class Bell:
    """One listener's socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        draft = path.parent.parent / path.name  # a ring must not meet, and sweep away, a socket that is half bound
        self._socket.bind(str(draft))
        draft.rename(path)

    def __enter__(self) -> Bell:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def wait(self, timeout: float) -> set[str]:
        """Sleep until a ring or `timeout` seconds; returns the job ids rung since the last call, `*` for anything."""
        poll = select.poll()  # select() refuses descriptors from 1,024 on
        poll.register(self._socket, select.POLLIN)
        poll.poll(max(0.0, timeout) * 1000)
        rings: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while len(rings) < _LISTENING:
                rings.append(self._socket.recv(256).decode(errors="replace"))
        return {*rings, ANYTHING} if len(rings) > _SURE else set(rings)

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


def boottime() -> float:
    """Seconds since boot, sleep included: no clock setting moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def engine_alive(pulse: Pulse | None, now: Callable[[], float] = boottime) -> bool:
    """Whether the engine's process exists and its last work heartbeat is no older than its patience."""
    if pulse is None or not 0 <= now() - pulse.beat <= pulse.patience:
        return False
    return Path(f"/proc/{pulse.pid}").exists()


def board_folder(data_dir: Path) -> Path:
    """The tmpfs folder that belongs to a data dir: short, since a unix socket's path has at most 107 bytes.

    Under systemd its RuntimeDirectory, where the same user's `ensueno status` finds it too; else one that depends on
    nothing but the user.
    """
    name = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    if runtime:
        return Path(runtime) / f"ensueno-{name}"
    if os.access(SYSTEM_BOARDS / f"ensueno-{name}", os.W_OK):
        return SYSTEM_BOARDS / f"ensueno-{name}"
    return Path("/dev/shm") / f"ensueno-{os.getuid()}-{name}"  # noqa: S108


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # a logout may have swept it away
        draft.write_text(text, encoding="utf-8")
        draft.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
