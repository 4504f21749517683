"""The doctor on this machine and on boards that are not here: fixture trees, no GPU."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance import config
from appliance.device import doctor, jetson, reachable, sensors
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


@contextmanager
def answering(port: int, answer: bytes) -> Iterator[None]:
    """Something on that port which says this to whoever comes first."""

    def serve() -> None:
        with server.accept()[0] as visitor:
            visitor.recv(4096)
            visitor.sendall(answer)

    with socket.create_server(("127.0.0.1", port)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_a_port_held_by_what_speaks_no_http_is_named(settings: config.Settings) -> None:
    with answering(settings.port, b"SSH-2.0-OpenSSH_9.2\r\n"):
        found = doctor._look("port", reachable.port, settings)
    assert found.detail == f"Something else holds port {settings.port}: stop it or choose another --port."


def test_a_box_that_answers_holds_its_port_rightly(settings: config.Settings) -> None:
    with answering(settings.port, b'HTTP/1.0 200 OK\r\n\r\n{"status": "ok"}'):
        assert reachable.port(settings) == f"a box answers at 127.0.0.1:{settings.port}"


def test_one_that_does_not_go_by_the_name_is_told_to(settings: config.Settings) -> None:
    with answering(settings.port, b"HTTP/1.0 421 Misdirected Request\r\n\r\n"):
        found = doctor._look("port", reachable.port, settings)
    assert (found.good, "add it to the setting `hosts`" in found.detail) == (False, True)


@pytest.mark.parametrize(
    ("host", "said"),
    [("192.0.2.1", "192.0.2.1 is no address of this machine"), ("nobody.invalid", "The name nobody.invalid leads")],
)
def test_an_address_that_cannot_be_had_is_not_taken_for_a_port_in_use(
    settings: config.Settings, host: str, said: str
) -> None:
    named = settings.model_copy(update={"host": host})
    assert doctor._look("port", reachable.port, named).detail.startswith(said)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tls_cert": Path("/nowhere.pem")}, "belong together"),
        ({"tls_cert": Path("/nowhere.pem"), "tls_key": Path("/nowhere.pem")}, "cannot be used"),
        ({"prompt_filter": "/nowhere"}, "check prompt_filter"),
    ],
)
def test_settings_that_serve_refuses_are_told(settings: config.Settings, wrong: dict[str, Any], said: str) -> None:
    found = examined(settings.model_copy(update=wrong))["settings"]
    assert (found.level, said in found.detail) == ("bad", True)


def test_a_look_writes_no_certificate(settings: config.Settings) -> None:
    assert examined(settings.model_copy(update={"tls": True}))["settings"].good
    assert not (settings.data_dir / "tls.pem").exists()


def test_a_check_that_fails_as_nobody_foresaw_hides_no_other(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(settings: config.Settings) -> str:
        raise ValueError("what\nis this")

    monkeypatch.setattr(doctor, "_clock", broken)
    found = examined(settings)
    assert found["clock"].detail == "This check failed itself (ValueError: what is this): please report it."
    assert found["port"].good


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
    port = free_port()
    named = settings.model_copy(update={"mqtt": f"mqtt://127.0.0.1:{port}"})
    found = doctor._look("broker", reachable.broker, named)
    assert (found.good, f"The broker mqtt://127.0.0.1:{port} cannot be reached" in found.detail) == (False, True)
    with socket.create_server(("127.0.0.1", port)):
        assert reachable.broker(named) == f"mqtt://127.0.0.1:{port} answers"


@pytest.mark.parametrize("url", ["broker.local", "mqtt://h:99999", "mqtt://[bad", "mqtt://a..b"])
def test_a_broker_that_is_none_is_told_as_the_link_would(settings: config.Settings, url: str) -> None:
    found = doctor._look("broker", reachable.broker, settings.model_copy(update={"mqtt": url}))
    assert found.detail == "The broker must look like mqtt://broker.local:1883 or mqtts://broker.example:8883."


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
