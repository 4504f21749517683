"""How far a build of plans is, as its builder tells it in a file beside the plans: for the page and for `status`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from appliance.plans.passport import engines_folder

PROGRESS = "progress.json"


@dataclass(frozen=True, slots=True)
class Building:
    """A build that runs: its present network, that network's number among so many, all that is done (0 to 1)."""

    component: str
    number: int
    of: int
    done: float
    seconds: float


class _Told(BaseModel):
    """What a builder writes, as far as it is read here."""

    component: str
    number: int = Field(ge=0)
    of: int = Field(ge=1)
    fraction: float = Field(ge=0, le=1)
    seconds: float
    pid: int
    note: str | None


def building(data_dir: Path, proc: Path = Path("/proc")) -> Building | None:
    """The build of this box's plans that runs now, or None."""
    for path in engines_folder(data_dir).glob(f"*/{PROGRESS}"):
        told = _read(path)
        if told is not None and told.note is None and _runs(proc / str(told.pid)):
            done = (max(told.number - 1, 0) + told.fraction) / told.of
            return Building(told.component, told.number, told.of, done, told.seconds)
    return None


def _read(path: Path) -> _Told | None:
    try:
        return _Told.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _runs(process: Path) -> bool:
    """Whether the builder that wrote this lives; after a reboot its number may be anybody's."""
    try:
        return b"engine_build" in (process / "cmdline").read_bytes()
    except OSError:
        return False
