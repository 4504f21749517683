"""A Debian of aarch64 in a folder, whose programs run here under QEMU. Needs root, debootstrap and qemu-user-static."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from appliance.errors import BadInput, EngineFault

SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_FORMAT = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")  # of qemu-user-static
_HOSTS_NETWORK = ("etc/resolv.conf", "etc/hosts", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")


def made(folder: Path) -> Path:
    """`folder`/base, made by debootstrap unless it is there, whole. Raises `BadInput`, `EngineFault`."""
    base, half = folder / "base", folder / "base.part"
    register()
    if base.exists():
        return base
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    first = ["--foreign", "--arch=arm64", "--variant=minbase", "--include=ca-certificates", SUITE, str(half), MIRROR]
    _ran(["debootstrap", *first])
    _ran(["chroot", str(half), "/debootstrap/debootstrap", "--second-stage"])
    half.rename(base)
    return base


def copied(base: Path, root: Path) -> Path:
    """`root`, filled with all that `base` holds. By cp: Python's own copies would read /dev/zero to its end."""
    _ran(["cp", "--archive", "--reflink=auto", f"{base}/.", str(root)])
    return root


def register() -> None:
    """aarch64 programs run here from now on: QEMU is registered with the kernel where it is not yet."""
    for program in ("debootstrap", "qemu-aarch64-static", "ip", "unshare"):
        if shutil.which(program) is None:
            raise BadInput(f"{program} is missing: apt-get install debootstrap qemu-user-static iproute2 util-linux")
    if not (_BINFMT / "register").exists():
        _ran(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)])
    if not (_BINFMT / "qemu-aarch64").exists():
        (_BINFMT / "register").write_text(_FORMAT.read_text(), encoding="latin-1")


class Userland:
    """A root folder with /proc, /dev and the host's network settings; `run` runs its programs, and leaving unmounts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._leaving = ExitStack()

    def __enter__(self) -> Userland:
        for kind, target in (("proc", "proc"), ("tmpfs", "run"), ("tmpfs", "dev/shm")):
            if kind == "proc":
                self._mounted(["mount", "--bind", "/dev", str(self.root / "dev")], "dev")
            self._mounted(["mount", "-t", kind, kind, str(self.root / target)], target)
        for name in _HOSTS_NETWORK:
            if Path("/", name).exists():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path("/", name), self.root / name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leaving.close()

    def _mounted(self, command: Sequence[str], target: str) -> None:
        _ran(command)
        self._leaving.callback(subprocess.run, ["umount", "--lazy", str(self.root / target)], check=False)

    def command(
        self, words: Sequence[str], environment: Mapping[str, str], user: str = "0:0", folder: str = "/"
    ) -> list[str]:
        """To run `words` in there, as `user`, with `environment` alone, in `folder`."""
        inside = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in environment.items())]
        cd = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder]
        return ["chroot", f"--userspec={user}", str(self.root), *cd, *inside, *words]

    def answer(self, words: Sequence[str]) -> str:
        """What a program prints, on one line."""
        return " ".join(_ran(self.command(words, {"PATH": os.defpath})).split())


def _ran(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise EngineFault(f"`{' '.join(command[:8])}` failed: {' | '.join(said) or done.returncode}")
    return done.stdout
