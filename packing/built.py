"""A Dockerfile's steps done to a userland, one by one, and its command started, as a container engine would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import EngineFault
from packing.dockerfile import Step, assignments, command, filled
from packing.userland import Userland

# how the building machine reaches the package indexes; none of it stays in the image
_OF_THE_HOST = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@contextmanager
def context(repository: Path) -> Iterator[Path]:
    """What a build is sent: the tracked files that .dockerignore lets through, by whole folders and files."""
    let_through = [line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    listed = subprocess.run(["git", "ls-files", "-z", *let_through], cwd=repository, capture_output=True, check=True)
    with tempfile.TemporaryDirectory(prefix="ensueno-context-") as folder:
        for name in listed.stdout.decode().split("\0"):
            if name and os.path.lexists(repository / name):
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(repository / name, target, follow_symlinks=False)
        yield Path(folder)


class Built:
    """The userland and what the steps so far have said: environment, user, folder, and how it starts."""

    def __init__(self, userland: Userland, sent: Path) -> None:
        self._userland = userland
        self._sent = sent
        self._environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self._user = "0:0"
        self._folder = "/"
        self._start: list[str] = []
        self._health: list[str] = []

    def take(self, step: Step) -> bool:
        """Do it; False for one that takes files from a stage that was not built here. Raises `EngineFault`."""
        if step.needs() is not None:
            return False
        text = filled(step.text, self._environment)
        if step.word == "RUN":
            self._run(step.text)
        elif step.word == "COPY":
            *sources, target = text.split()
            self._copy(sources, target)
        elif step.word == "ENV":
            self._environment |= assignments(text)
        elif step.word == "USER":
            self._user = text
        elif step.word == "WORKDIR":
            self._folder = text
            self._inside(text).mkdir(parents=True, exist_ok=True)
        elif step.word in ("ENTRYPOINT", "CMD"):
            self._start += command(step.text)
        elif step.word == "HEALTHCHECK":
            self._health = command(step.text.removeprefix("CMD").strip())
        return True

    def _run(self, text: str) -> None:
        network = {name: value for name, value in os.environ.items() if name in _OF_THE_HOST or name.startswith("PIP_")}
        environment = {**network, **self._environment, "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
        words = self._userland.command(["/bin/sh", "-c", text], environment, self._user, self._folder)
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-5:]
            raise EngineFault(f"RUN {text[:80]} … ended with {done.returncode}: {' | '.join(said)}")

    def _copy(self, sources: Sequence[str], target: str) -> None:
        into = self._inside(target)
        for source in sources:
            path = self._sent / source
            if not path.exists():
                raise EngineFault(f"COPY {source}: nothing of that name is sent to the build, see .dockerignore.")
            into.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, into, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(path, into)

    def _inside(self, path: str) -> Path:
        return self._userland.root / path.lstrip("/")

    def serve_until_healthy(self, patience: float) -> bool:
        """Start it with loopback for its only network, until its health check passes; then stop it, and it must end.

        Raises `EngineFault` when it ends by itself, stays unhealthy for `patience` seconds, or does not stop.
        """
        alone = ["unshare", "--net", "--", "/bin/sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        with tempfile.TemporaryFile() as log:
            serving = subprocess.Popen([*alone, *self._as_the_user(self._start)], stdout=log, stderr=log)
            try:
                self._await(serving, patience)
                serving.send_signal(signal.SIGTERM)
                serving.wait(120)
            except (EngineFault, subprocess.TimeoutExpired) as fault:
                log.seek(0)
                said = log.read().decode(errors="replace").strip().splitlines()[-6:]
                raise EngineFault(f"{fault} Its log ends: {' | '.join(said)}") from fault
            finally:
                serving.kill()
        return True

    def _await(self, serving: subprocess.Popen[bytes], patience: float) -> None:
        beside = ["nsenter", "--net", "--target", str(serving.pid), "--"]
        since = time.monotonic()
        while time.monotonic() - since < patience:
            if serving.poll() is not None:
                raise EngineFault(f"{' '.join(self._start)} ended by itself with {serving.returncode}.")
            if subprocess.run([*beside, *self._as_the_user(self._health)], capture_output=True).returncode == 0:
                return
            time.sleep(2)
        raise EngineFault(f"The health check did not pass in {patience:.0f} s.")

    def run(self, words: Sequence[str]) -> Path:
        """Run a program as the image's user in its folder, without any network; → that folder, seen from here."""
        done = subprocess.run(["unshare", "--net", "--", *self._as_the_user(words)], capture_output=True, text=True)
        if done.returncode:
            raise EngineFault(f"`{' '.join(words)}` ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        return self._inside(self._folder)

    def _home(self) -> str:
        """The user's, as a container engine looks it up."""
        for line in self._inside("/etc/passwd").read_text(encoding="utf-8").splitlines():
            entry = line.split(":")
            if entry[2] == self._user.partition(":")[0]:
                return entry[5]
        return "/"

    def _as_the_user(self, words: Sequence[str]) -> list[str]:
        environment = {**self._environment, "HOME": self._home()}
        return self._userland.command(words, environment, self._user, self._folder)
