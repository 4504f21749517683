"""The units, by systemd's own tools and offline: spelling, exposure, and what each process is kept from.

That they start on a Jetson, and that CUDA works under the engine's, is not proven here: `sudo ensueno doctor` asks.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.plans.passport import engines_folder
from appliance.plans.wanted import WANTED

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
EXPOSURE = 1.5

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here: scripts/setup test")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SYSTEMD_LOG_LEVEL": "warning", "PAGER": "cat"}
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, env=environment)


def lines(unit: str) -> list[tuple[str, str]]:
    text = (UNITS / unit).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in text if "=" in line and not line.startswith("#"))
    return [(name, value) for name, value in pairs]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the units and something executable where they start it."""
    root = tmp_path_factory.mktemp("root")
    folder = root / "etc/systemd/system"
    folder.mkdir(parents=True)
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.target"), *UNITS.glob("*.path")]:
        shutil.copy(unit, folder)
    for name in ("opt/ensueno/current/.venv/bin/python", "bin/grep", "bin/sh", "usr/bin/true"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    system = Path("/usr/lib/systemd/system")
    for name in ("sysinit.target", "basic.target", "shutdown.target", "network.target", "local-fs.target",
                 "multi-user.target", "systemd-tmpfiles-setup.service"):  # fmt: skip
        (root / "usr/lib/systemd/system").mkdir(parents=True, exist_ok=True)
        shutil.copy(system / name, root / "usr/lib/systemd/system")
    return root


@pytest.mark.parametrize("unit", [*SERVICES, "ensueno.target", "ensueno-build.path"])
def test_systemd_finds_nothing_to_say_against_the_unit(device: Path, unit: str) -> None:
    answer = analyze("verify", "--recursive-errors=one", f"--root={device}", unit)
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_each_unit_is_exposed_little(unit: str) -> None:
    answer = analyze(
        "security", "--offline=true", "--json=short", f"--threshold={EXPOSURE * 10:.0f}", str(UNITS / unit)
    )
    told = json.loads(answer.stdout)
    assert answer.returncode == 0, [row["json_field"] for row in told if row.get("exposure")]


def test_a_misspelt_line_would_be_found(device: Path, tmp_path: Path) -> None:
    """The negative control: `verify` ends with 0 on it, so only standard error tells."""
    unit = device / "etc/systemd/system/ensueno-engine.service"
    text = unit.read_text()
    try:
        unit.write_text(text.replace("PrivateNetwork=", "PrivateNetwrok="))
        assert "PrivateNetwrok" in analyze("verify", f"--root={device}", unit.name).stderr
    finally:
        unit.write_text(text)


def test_the_engine_has_no_network_and_the_others_no_gpu() -> None:
    engine = lines("ensueno-engine.service")
    assert ("PrivateNetwork", "yes") in engine
    assert ("RestrictAddressFamilies", "AF_UNIX") in engine
    assert ("SupplementaryGroups", "video render") in engine
    for unit in ("ensueno-web.service", "ensueno-link.service"):
        assert ("PrivateDevices", "yes") in lines(unit)
        assert not [name for name, _ in lines(unit) if name in ("DeviceAllow", "SupplementaryGroups")]


def test_who_asks_whether_the_engine_lives_may_see_its_process() -> None:
    """Hidden processes show only to who may trace them, and nobody in a user namespace of his own may trace another."""
    for unit in ("ensueno-web.service", "ensueno-link.service"):
        assert not {("PrivateUsers", "yes"), ("ProtectProc", "invisible")} <= set(lines(unit))


def test_all_are_one_user_with_one_state_folder_and_one_board() -> None:
    for unit in SERVICES:
        assert {("User", "ensueno"), ("StateDirectory", "ensueno"), ("RuntimeDirectory", "ensueno")} <= set(lines(unit))


def test_each_that_serves_is_watched_and_comes_back() -> None:
    for unit in (name for name in SERVICES if ("Type", "oneshot") not in lines(name)):
        names = dict(lines(unit))
        assert names["Type"] == "notify"
        assert float(names["WatchdogSec"]) > 0
        assert (names["Restart"], names["StartLimitIntervalSec"]) == ("always", "0")


DOORS = {"ensueno-web.service": "appliance.web", "ensueno-link.service": "mqtt.link"}


def test_a_mistake_in_the_settings_is_met_once_and_not_every_two_seconds() -> None:
    """Not the engine's: what it cannot have today, a driver or a bundle, it may have at its next start."""
    assert {unit for unit in SERVICES if ("RestartPreventExitStatus", "2") in lines(unit)} == set(DOORS)


@pytest.mark.parametrize("module", DOORS.values())
def test_only_such_a_mistake_has_that_status(tmp_path: Path, module: str, tiny_folder: Path) -> None:
    def status(*options: str) -> int:
        command = [sys.executable, "-m", module, "--data-dir", str(tmp_path), "--mqtt", "mqtt://127.0.0.1"]
        return subprocess.run([*command, *options], capture_output=True).returncode

    assert status("--bundle", str(tiny_folder), "--prompt-filter", "/nowhere") == 2
    assert status("--bundle", str(tiny_folder), "--port", "0") == 2
    assert status("--bundle", str(tmp_path)) == 1  # on trial it may be, and gone at the next start


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ('mqtt = "mqtts://h"', True),
        ('port = 1\n  mqtt="mqtts://h"', True),
        ('\tmqtt\t= "mqtts://h"', True),
        ('# mqtt = "mqtts://h"', False),
        ('mqtt_pool = "home"\nmqtt_home = false', False),
        ('name = "mqtt = 1"', False),
    ],
)
def test_the_link_runs_where_a_broker_is_named_and_nowhere_else(tmp_path: Path, settings: str, named: bool) -> None:
    file = tmp_path / "ensueno.toml"
    file.write_text(settings)
    *grep, place = shlex.split(dict(lines("ensueno-link.service"))["ExecCondition"])
    assert place == "/etc/ensueno/ensueno.toml"
    assert (subprocess.run([*grep, str(file)]).returncode == 0) == named


def test_the_journal_is_looked_at_before_anything_opens_it() -> None:
    check = lines("ensueno-check.service")
    opens_it = {"ensueno-web.service", "ensueno-engine.service", "ensueno-link.service", "ensueno-build.service"}
    assert set(dict(check)["Before"].split()) == opens_it
    for unit in opens_it - {"ensueno-build.service"}:
        assert ("Wants", "ensueno-check.service") in lines(unit)
        assert "ensueno-check.service" in dict(lines(unit))["After"].split()
    assert ("PartOf", "ensueno.target") in check  # a restart of the target looks again


def test_the_target_starts_all_that_serves_and_stops_it() -> None:
    target = (UNITS / "ensueno.target").read_text(encoding="utf-8")
    wanted = {word for line in target.splitlines() if line.startswith("Wants=") for word in line[6:].split()}
    # the check is wanted by those that need it, the build by an engine that asks
    assert wanted == set(SERVICES) - {"ensueno-check.service", "ensueno-build.service"} | {"ensueno-build.path"}
    for unit in SERVICES:
        if unit != "ensueno-build.service":
            assert ("PartOf", "ensueno.target") in lines(unit)


def test_a_build_begins_where_the_engine_asks_for_one() -> None:
    path = dict(lines("ensueno-build.path"))
    assert Path(path["PathExists"]) == engines_folder(Path("/var/lib/ensueno")) / WANTED
    assert path["Unit"] == "ensueno-build.service"


def test_nothing_that_starts_together_excludes_each_other() -> None:
    target = [value for name, value in lines("ensueno.target") if name == "Wants"]
    together = {unit for line in target for unit in line.split()}
    excluded = {
        unit for name in together if name in SERVICES for unit in dict(lines(name)).get("Conflicts", "").split()
    }
    assert not together & excluded


def test_user_and_folders_are_made_in_a_fresh_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    sysusers = ["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "ensueno.sysusers")]
    assert subprocess.run(sysusers, capture_output=True, text=True).returncode == 0
    assert "ensueno" in (tmp_path / "etc/passwd").read_text()
    if os.getuid() == 0:
        tmpfiles = ["systemd-tmpfiles", f"--root={tmp_path}", "--create", str(UNITS / "ensueno.tmpfiles")]
        answer = subprocess.run(tmpfiles, capture_output=True, text=True)
        assert (tmp_path / "var/lib/ensueno").stat().st_mode & 0o777 == 0o700, answer.stderr
