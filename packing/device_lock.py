"""`python -m packing.device_lock`: locks what `Dockerfile.l4t` installs, one file in requirements/ for each Python.

A file names each pin's wheels that fit the device, and their hashes alone, so an install can neither take another file
nor compile. Versions are those of run.txt, which the tests run with. pycuda, which is source alone, has its own file.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from appliance.errors import BadInput, EnsuenoError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
RUN = REQUIREMENTS / "run.txt"
PYCUDA = REQUIREMENTS / "pycuda.txt"
_OLDEST_GLIBC = 17


@dataclass(frozen=True)
class Target:
    """A Python on aarch64 and the minor version of its glibc 2."""

    python: tuple[int, int]
    glibc: int
    device: str

    @property
    def file(self) -> Path:
        return REQUIREMENTS / f"aarch64-cp{self.python[0]}{self.python[1]}.txt"

    def tags(self) -> frozenset[Tag]:
        """Of every wheel that installs there."""
        platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(self.glibc, _OLDEST_GLIBC - 1, -1)]
        platforms += ["manylinux2014_aarch64", "linux_aarch64"]
        interpreter = f"cp{self.python[0]}{self.python[1]}"
        native = cpython_tags(self.python, platforms=platforms)
        return frozenset(native) | frozenset(compatible_tags(self.python, interpreter, platforms))


TARGETS = (
    Target((3, 10), 35, "JetPack 6"),
    Target((3, 11), 36, "Debian 12, where scripts/test-aarch64 runs it"),
    Target((3, 12), 39, "JetPack 7"),
)


@dataclass(frozen=True)
class Pin:
    """One locked requirement: the files that may be installed for it, and their sha256."""

    name: str
    version: str
    files: tuple[str, ...]
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in self.hashes)
        return f"# {' '.join(self.files)}\n{self.name}=={self.version}{hashes}\n"


_PIN = re.compile(r"^# (?P<files>\S.*)\n(?P<name>[\w.-]+)==(?P<version>\S+)(?P<hashes>(?: \\\n    --hash=\S+)+)$", re.M)


def read(text: str) -> Iterator[Pin]:
    """The pins of a file that `main` wrote; raises `BadInput` when a line of it is something else."""
    found = list(_PIN.finditer(text))
    rest = [line for line in _PIN.sub("", text).splitlines() if line and not line.startswith("#")]
    if rest or not found:
        raise BadInput(f"{rest[0] if rest else 'An empty file'} is no pin: run scripts/lock.")
    for pin in found:
        yield Pin(pin["name"], pin["version"], tuple(pin["files"].split()), tuple(_hashes(pin["hashes"])))


def _hashes(text: str) -> list[str]:
    return re.findall(r"--hash=sha256:([0-9a-f]{64})(?=\s|$)", text)


def fits(pin: Pin, target: Target) -> bool:
    """Whether each of its files is a wheel that installs there, of this name and version, with a hash of its own."""
    tags = target.tags()
    for file in pin.files:
        name, version, _, wheel_tags = parse_wheel_filename(file)
        if (name, str(version)) != (pin.name, pin.version) or not tags & wheel_tags:
            return False
    return len(pin.files) == len(pin.hashes) > 0


def lock(target: Target, constraints: Sequence[Path]) -> tuple[list[Pin], Pin]:
    """What the device installs, and pycuda's source, as far as `constraints`, files of pins, leave a choice.

    Asks the package index for each version's files; raises `BadInput` with uv's own words.
    """
    packages = {package["name"]: package for package in _resolved(target, constraints)}
    pycuda = packages.pop("pycuda")
    return [_pin(package, package["wheels"]) for package in packages.values()], _pin(pycuda, [pycuda["sdist"]])


def _resolved(target: Target, constraints: Sequence[Path]) -> list[dict[str, Any]]:
    version = ".".join(map(str, target.python))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pylock.toml"
        done = subprocess.run(
            [
                *(_uv(), "pip", "compile", "--quiet", "--format", "pylock.toml", "--output-file", str(out)),
                *("--python-version", version, "--python-platform", f"aarch64-manylinux_2_{target.glibc}"),
                *("--only-binary", ":all:", "--no-binary", "pycuda", "--extra", "jetson"),
                *(word for file in constraints for word in ("--constraint", str(file))),
                *(str(REQUIREMENTS.parent / "pyproject.toml"), str(REQUIREMENTS / "setup.in")),
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BadInput(f"{target.device}: {' '.join(done.stderr.split())}")
        packages: list[dict[str, Any]] = tomllib.loads(out.read_text(encoding="utf-8"))["packages"]
        return packages


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    uv = shutil.which("uv") or (str(beside) if beside.exists() else None)
    if uv is None:
        raise BadInput("uv is not there: `pip install uv`, then try again.")
    return uv


def _pin(package: dict[str, Any], files: list[dict[str, Any]]) -> Pin:
    names = tuple(file.get("name") or file["url"].rsplit("/", 1)[-1] for file in files)
    return Pin(package["name"], package["version"], names, tuple(file["hashes"]["sha256"] for file in files))


def _head(what: str) -> str:
    return f"# Locked by scripts/lock {what}; not edited by hand.\n"


def main() -> int:
    """Write all files; → the exit status."""
    try:
        for target in TARGETS:
            pins, pycuda = lock(target, [RUN])
            version = ".".join(map(str, target.python))
            what = f"for Python {version} on aarch64 with glibc 2.{target.glibc} or later ({target.device})"
            target.file.write_text(_head(what) + "".join(map(str, pins)), encoding="utf-8")
            PYCUDA.write_text(_head("for every Python, to be compiled on the device") + str(pycuda), encoding="utf-8")
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
