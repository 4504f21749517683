"""Which line of the engine's unit keeps CUDA away? Found by trying: the probe runs under fewer and fewer of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import appliance
from appliance.device.finding import Watch
from appliance.errors import EnsuenoError

UNITS = ("etc/systemd/system/ensueno-engine.service", "usr/lib/systemd/system/ensueno-engine.service")
_NOT_CONFINING = (
    "Type", "Exec", "Restart", "Watchdog", "Timeout", "StartLimit", "Environment", "NotifyAccess", "Slice", "OOM",
    "RuntimeDirectory", "StateDirectory", "WorkingDirectory", "Standard", "Syslog", "Nice", "KillMode", "Success",
)  # fmt: skip
Directive = tuple[str, str]
Trouble = Callable[[Sequence[Directive]], str | None]  # None where CUDA works under these lines, else why it does not


def directives(unit: Path) -> list[Directive]:
    """The lines of a unit that confine its process, in order."""
    text = unit.read_text(encoding="utf-8").splitlines()
    section, found = "", []
    for line in (line.strip() for line in text):
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith(("#", ";")):
            name, value = line.split("=", 1)
            if not name.startswith(_NOT_CONFINING):
                found.append((name.strip(), value.strip()))
    return found


def culprits(lines: Sequence[Directive], trouble: Trouble) -> list[Directive]:
    """A smallest set of lines without which the probe works under all the others; empty when it works as it is.

    Raises `EnsuenoError` when it fails even under none of them. Lines are taken away by halves, then one by one, so
    that some 2 log₂ n + k probes answer for n lines with k culprits close together.
    """
    if trouble(lines) is None:
        return []
    alone = trouble([])
    if alone is not None:
        raise EnsuenoError(f"CUDA fails outside the sandbox too ({alone.rstrip('.')}): install JetPack again.")
    guilty = list(lines)  # works without all of these
    size = max(1, len(guilty) // 2)
    while True:
        for start in range(0, len(guilty), size):
            fewer = [*guilty[:start], *guilty[start + size :]]
            if fewer != guilty and trouble([line for line in lines if line not in fewer]) is None:
                guilty = fewer
                break
        else:
            if size == 1:
                return guilty
            size = max(1, size // 2)


def check(root: Path = Path("/")) -> str:
    """The doctor's question. Raises `Watch` where it cannot be asked, `EnsuenoError` naming the guilty lines."""
    unit = next((root / path for path in UNITS if (root / path).is_file()), None)
    if unit is None or shutil.which("systemd-run") is None:
        raise Watch("The engine's unit is not installed, so nothing is confined: scripts/install-on-jetson does it.")
    guilty = culprits(directives(unit), _under_systemd)
    if guilty:
        named = ", ".join(f"{name}={value}" for name, value in guilty)
        raise EnsuenoError(
            f"CUDA works only without {named}: `sudo systemctl edit ensueno-engine`, and please report it."
        )
    return "CUDA works under the engine's unit"


def _under_systemd(lines: Sequence[Directive]) -> str | None:
    properties = [part for name, value in lines for part in ("-p", f"{name}={value}")]
    root = Path(appliance.__file__).parents[1]  # systemd starts it in /, where nobody finds our package
    unit = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--working-directory={root}", *properties]
    probe = [sys.executable, "-m", "appliance.device.cuda"]
    ended = subprocess.run([*unit, *probe], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ended.returncode == 0:
        return None
    said = ended.stderr.strip().splitlines()
    return said[-1] if said else f"the probe ended with status {ended.returncode}"
