"""`scripts/install-on-jetson` in a plain fresh root (`--root`, with systemd's own `--root` tools), by real processes.

Not proven here, since no systemd runs as the first process: that the units start, and how a release is found not to
become ready. What is done then, is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.served import free_port

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(sys.prefix)
PARTS = ("appliance", "systemd", "requirements", "pyproject.toml", "scripts/install-on-jetson")

pytestmark = [
    pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="no systemd here: scripts/setup test"),
    pytest.mark.skipif(os.getuid() != 0, reason="making a user in a fresh root needs to be root"),
]


@dataclass
class Device:
    """A checkout and the root it is installed into."""

    checkout: Path
    root: Path
    bundle: Path

    def install(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.checkout / "scripts/install-on-jetson"), "--root", str(self.root), "--venv", str(VENV)]
        environment = os.environ | {"ENSUENO_BUNDLE": str(self.bundle), "PYTHONPATH": ""}
        return subprocess.run([*command, *options], capture_output=True, text=True, env=environment)

    def ensueno(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The installed command, asked from a folder; its fixed places are looked for below the root."""
        command = (self.root / "usr/local/bin/ensueno").read_text()
        for place in ("/opt/ensueno", "/etc/ensueno"):
            assert place in command
            command = command.replace(place, f"{self.root}{place}")
        told = {name: value for name, value in os.environ.items() if not name.startswith(("ENSUENO_", "PYTHON"))}
        return subprocess.run(
            ["sh", "-c", command, "ensueno", *arguments], capture_output=True, text=True, cwd=folder, env=told
        )

    def only_these_become_ready(self, *releases: str) -> Path:
        """From now on, in place of asking a systemd that is not there; → the file in which each start is noted."""
        script, starts = self.checkout / "scripts/install-on-jetson", self.checkout.parent / "starts"
        ready = self.checkout.parent / "ready"
        ready.write_text("".join(f"{release}\n" for release in releases))
        text, asked = script.read_text(), '[ -n "$root" ] && return\n'
        look = f'release_of current >>{starts}; grep -qx -e all -e "$(release_of current)" {ready}; return\n'
        assert asked in text or look in text
        script.write_text(text.replace(asked, look))
        return starts

    def upgraded(self) -> str:
        """Another release, current from now on."""
        change(self.checkout / "systemd/ensueno-web.service", "# newer\n")
        answer = self.install()
        assert answer.returncode == 0, answer.stderr
        return self.release()

    def release(self, name: str = "current") -> str:
        return os.path.basename(os.readlink(self.root / "opt/ensueno" / name))

    def seen(self) -> dict[str, object]:
        """Every path with its content, link target or mode."""
        return {str(path.relative_to(self.root)): self._look(path) for path in sorted(self.root.rglob("*"))
                if "__pycache__" not in path.parts}  # fmt: skip

    def _look(self, path: Path) -> object:
        if path.is_symlink():
            return os.readlink(path)
        return path.read_bytes() if path.is_file() else path.stat().st_mode


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A checkout and a root into which it was installed, once: a proof picture takes seconds."""
    folder = tmp_path_factory.mktemp("device")
    for part in PARTS:
        target = folder / "checkout" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, target)
    (folder / "root").mkdir()
    answer = Device(folder / "checkout", folder / "root", tiny_folder).install()
    assert answer.returncode == 0, answer.stderr
    return folder


@pytest.fixture
def device(installed: Path, tmp_path: Path, tiny_folder: Path) -> Device:
    """A copy of it to change."""
    shutil.copytree(installed, tmp_path / "device", symlinks=True)
    root = tmp_path / "device/root"
    for name in ("var/lib/ensueno", "run/ensueno"):
        owner = (installed / "root" / name).stat()
        os.chown(root / name, owner.st_uid, owner.st_gid)
    return Device(tmp_path / "device/checkout", root, tiny_folder)


def test_from_nothing_to_a_service_and_again_without_a_change(device: Device) -> None:
    assert "ensueno" in (device.root / "etc/passwd").read_text()
    state = (device.root / "var/lib/ensueno").stat()
    assert state.st_mode & 0o777 == 0o700
    assert state.st_uid != 0
    wanted = device.root / "etc/systemd/system/ensueno.target.wants"
    assert {"ensueno-web.service", "ensueno-engine.service", "ensueno-link.service"} <= {
        path.name for path in wanted.iterdir()
    }
    assert (device.root / "opt/ensueno/current/appliance/cli.py").is_file()
    assert os.access(device.root / "usr/local/bin/ensueno", os.X_OK)
    before = device.seen()
    again = device.install()
    assert again.returncode == 0, again.stderr
    assert device.seen() == before


def test_an_upgrade_keeps_settings_and_pictures_and_can_be_taken_back(device: Device) -> None:
    old = device.release()
    settings, picture = device.root / "etc/ensueno/ensueno.toml", device.root / "var/lib/ensueno/picture.png"
    settings.write_text('port = 9000\ndata_dir = "/var/lib/ensueno"\n')
    picture.write_bytes(b"kept")
    change(device.checkout / "systemd/ensueno-web.service", "# newer\n")
    answer = device.install()
    assert answer.returncode == 0, answer.stderr
    unit = device.root / "etc/systemd/system/ensueno-web.service"
    assert device.release() != old == device.release("previous")
    assert unit.read_text().endswith("# newer\n")
    back = device.install("--rollback")
    assert back.returncode == 0, back.stderr
    assert device.release() == old
    assert not unit.read_text().endswith("# newer\n")
    assert settings.read_text().startswith("port = 9000")
    assert picture.read_bytes() == b"kept"
    change(device.checkout / "systemd/ensueno-web.service", "# newest\n")
    assert device.install().returncode == 0
    assert len(list((device.root / "opt/ensueno/releases").iterdir())) == 2  # what runs, and the one before


def test_the_command_knows_the_boxs_settings(device: Device, tmp_path: Path) -> None:
    port = free_port()
    file = device.root / "etc/ensueno/ensueno.toml"
    file.write_text(f'port = {port}\nbundle = "{device.bundle}"\ndata_dir = "{tmp_path / "data"}"\n')
    found = {finding["name"]: finding for finding in json.loads(device.ensueno(tmp_path, "doctor", "--json").stdout)}
    assert found["port"]["detail"] == f"{port} is free"
    assert found["data dir"]["detail"] == str(tmp_path / "data")
    file.unlink()
    answer = device.ensueno(tmp_path, "doctor")
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    assert f"{file} cannot be read" in answer.stderr


def test_the_command_works_in_the_folder_where_it_is_asked_and_takes_no_code_from_there(
    device: Device, tmp_path: Path
) -> None:
    settings = f'bundle = "{device.bundle}"\nengine = "onnxruntime"\ndata_dir = "{tmp_path / "data"}"\n'
    (device.root / "etc/ensueno/ensueno.toml").write_text(settings)
    (tmp_path / "here/appliance").mkdir(parents=True)
    (tmp_path / "here/appliance/__init__.py").write_text("raise SystemExit('not the box')\n")
    answer = device.ensueno(tmp_path / "here", "generate", "a red apple", "--out", "apple.png")
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "here/apple.png").stat().st_size > 0


def change(file: Path, more: str) -> None:
    file.write_text(file.read_text() + more)


def test_a_release_that_draws_no_picture_is_never_switched_to(device: Device) -> None:
    before = device.seen()
    (device.checkout / "appliance/generate.py").write_text("raise SystemExit(3)\n")
    answer = device.install()
    assert answer.returncode == 1
    assert "draws no picture" in answer.stderr
    assert device.seen() == before


def test_an_upgrade_that_does_not_become_ready_leaves_all_as_it_was(device: Device) -> None:
    old, now = device.release(), device.upgraded()
    before = device.seen()
    starts = device.only_these_become_ready(old, now)
    answer = device.install()
    failed, went_back_to = starts.read_text().split()
    assert (answer.returncode, went_back_to) == (1, now)
    assert f"Release {failed} does not become ready: going back.\nBack at release {now};" in answer.stderr
    assert device.seen() == before
    assert (device.release(), device.release("previous")) == (now, old)


def test_a_first_upgrade_that_does_not_become_ready_is_no_way_back(device: Device) -> None:
    before = device.seen()
    device.only_these_become_ready(device.release())
    assert device.install().returncode == 1
    assert device.seen() == before
    assert "no release before this one" in device.install("--rollback").stderr


def test_a_release_that_was_kept_and_fails_when_it_is_installed_again_is_no_way_back(device: Device) -> None:
    unit = device.checkout / "systemd/ensueno-web.service"
    text = unit.read_text()
    device.only_these_become_ready("all")
    device.upgraded()
    now = device.upgraded()
    unit.write_text(text + "# newer\n")
    device.only_these_become_ready(now)
    assert device.install().returncode == 1
    assert [path.name for path in (device.root / "opt/ensueno/releases").iterdir()] == [device.release()] == [now]
    assert not (device.root / "opt/ensueno/previous").is_symlink()


def test_a_rollback_to_what_does_not_become_ready_ends_where_it_began(device: Device) -> None:
    old, now = device.release(), device.upgraded()
    before = device.seen()
    starts = device.only_these_become_ready(now)
    answer = device.install("--rollback")
    assert answer.returncode == 1
    assert answer.stderr == f"Release {old} does not become ready: going on with {now}.\n"
    assert device.seen() == before
    assert starts.read_text().split() == [old, now]


def test_two_releases_that_do_not_become_ready_are_two_sentences(device: Device) -> None:
    device.upgraded()
    before = device.seen()
    device.only_these_become_ready()
    answer = device.install("--rollback")
    assert (answer.returncode, answer.stderr.count("does not become ready")) == (1, 2)
    assert device.seen() == before


def test_going_back_from_the_first_release_is_refused_with_a_sentence(device: Device) -> None:
    answer = device.install("--rollback")
    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1)
    assert "no release before this one" in answer.stderr


def test_an_unknown_option_is_refused_before_anything_is_done(device: Device) -> None:
    before = device.seen()
    assert device.install("--now").returncode == 2
    assert device.seen() == before
