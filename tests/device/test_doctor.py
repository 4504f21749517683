"""The doctor on this machine and on boards that are not here: fixture trees, no GPU."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from appliance import config
from appliance.device import doctor, jetson, sensors
from appliance.device.finding import Finding, Watch
from appliance.errors import EnsuenoError
from tests.device.boards import plant, put
from tests.served import free_port


@pytest.fixture
def settings(tmp_path: Path, tiny_folder: Path) -> config.Settings:
    return config.load({"data_dir": tmp_path / "data", "bundle": tiny_folder, "threads": 1, "port": free_port()})


def examined(settings: config.Settings, root: Path = Path("/")) -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor.examine(settings, root)}


def test_a_good_machine_has_nothing_broken(settings: config.Settings) -> None:
    assert [finding for finding in examined(settings).values() if not finding.good] == []


def test_a_bundle_that_cannot_check_pictures_is_named(settings: config.Settings) -> None:
    found = examined(settings.model_copy(update={"picture_check": "on"}))["bundle"]
    assert (found.good, "has no safety checker" in found.detail) == (False, True)


def test_a_jetson_is_asked_more(settings: config.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    root = plant("orin-nano", tmp_path / "root")
    put(root, "usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0", "")
    put(root, "dev/nvmap", "")
    found = examined(settings, root)
    assert found["jetpack"].level == "watch"
    assert "36.4.7" in found["jetpack"].detail
    assert found["tensorrt"].detail == "TensorRT 10.3.0"
    assert found["power mode"].detail == "MAXN_SUPER"
    assert found["gpu"].level == "good"
    assert found["blocks"].level == found["sandbox"].level == "watch"


def test_a_port_that_something_else_holds_is_named(settings: config.Settings) -> None:
    with socket.create_server((settings.host, settings.port)) as holder:
        holder.settimeout(0.1)
        finding = examined(settings)["port"]
    assert (finding.good, "Something else holds port" in finding.detail) == (False, True)


def test_a_data_dir_open_to_others_is_worth_a_word(settings: config.Settings) -> None:
    settings.data_dir.mkdir(mode=0o755)
    settings.data_dir.chmod(0o755)
    assert examined(settings)["rights"].level == "watch"
    settings.data_dir.chmod(0o700)
    assert examined(settings)["rights"].level == "good"


def test_a_model_larger_than_the_box_is_refused_before_it_kills_it(settings: config.Settings, tmp_path: Path) -> None:
    put(tmp_path / "root", "proc/meminfo", "MemTotal: 10 kB\nMemAvailable: 5 kB\n")
    assert not examined(settings, tmp_path / "root")["fit"].good


def test_a_broker_that_does_not_answer_is_named(settings: config.Settings) -> None:
    named = settings.model_copy(update={"mqtt": f"mqtt://127.0.0.1:{free_port()}"})
    assert not doctor._look("broker", doctor._broker, named).good


@pytest.mark.parametrize(
    ("l4t", "tensorrt", "said"),
    [
        ("36.4.3", "10.3.0", None),
        ("36.4.3", "10.13.3", "not the one of Jetson Linux"),
        ("36.4.3", "11.4.1", "does not run on JetPack 6"),
        ("38.2.2", "10.13.3", None),
        ("39.2.0", "10.16.2", None),
        ("39.2.0", "11.4.1", None),
        ("39.2.0", "11.2.0", "does not support Jetsons"),
        ("36.4.3", None, "not installed"),
    ],
)
def test_which_tensorrt_belongs_to_which_jetpack(
    tmp_path: Path, l4t: str, tensorrt: str | None, said: str | None
) -> None:
    if tensorrt is not None:
        put(tmp_path, f"usr/lib/aarch64-linux-gnu/libnvinfer.so.{tensorrt}", "")
    found = sensors.Sensors(l4t=l4t)
    if said is None:
        assert jetson.tensorrt(found, tmp_path) == f"TensorRT {tensorrt}"
    else:
        with pytest.raises(Watch, match=said):
            jetson.tensorrt(found, tmp_path)


def test_the_jetpack_of_a_release_and_one_that_is_too_old() -> None:
    assert "JetPack 7.0" in jetson.jetpack(sensors.Sensors(l4t="38.2.2", board="Thor"))
    with pytest.raises(EnsuenoError, match="too old"):
        jetson.jetpack(sensors.Sensors(l4t="35.6.0"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may open anything")
def test_a_gpu_that_may_not_be_opened_names_the_groups(tmp_path: Path) -> None:
    put(tmp_path, "dev/nvmap", "")
    (tmp_path / "dev/nvmap").chmod(0)
    with pytest.raises(EnsuenoError, match="video and render"):
        jetson.gpu_access(sensors.Sensors(l4t="36.4.3"), tmp_path)


def test_a_thor_has_other_nodes(tmp_path: Path) -> None:
    put(tmp_path, "dev/nvmap", "")
    with pytest.raises(EnsuenoError, match="dev/nvidia0"):
        jetson.gpu_access(sensors.Sensors(l4t="38.2.2", board="NVIDIA Jetson AGX Thor"), tmp_path)
