"""Settings: command line over environment over file over defaults, and each mistake a sentence."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from appliance import config
from appliance.errors import BadInput
from appliance.options import as_arguments, serve_options


def write(folder: Path, text: str) -> Path:
    path = folder / "ensueno.toml"
    path.write_text(text)
    return path


def test_defaults_serve_this_machine_alone() -> None:
    settings = config.load({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.data_dir == Path("~/.local/share/ensueno").expanduser()


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, 'host = "file"\nport = 1\nqueue_limit = 7')
    monkeypatch.setenv("ENSUENO_HOST", "environment")
    monkeypatch.setenv("ENSUENO_PORT", "2")
    settings = config.load({"port": 3, "host": None}, file)
    assert (settings.host, settings.port, settings.queue_limit) == ("environment", 3, 7)


def test_paths_may_begin_at_home(tmp_path: Path) -> None:
    settings = config.load({}, write(tmp_path, 'data_dir = "~/dreams"'))
    assert settings.data_dir == Path.home() / "dreams"


@pytest.mark.parametrize(
    "text",
    ["port = 0", 'port = "many"', "colour = 1", "host = ", "threads = 0", 'watchdog_seconds = "nan"'],
)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        config.load({}, write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.toml cannot be read"):
        config.load({}, tmp_path / "nowhere.toml")


def test_the_environment_names_the_file_where_the_command_line_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENSUENO_CONFIG", str(write(tmp_path, "port = 81\nqueue_limit = 7")))
    monkeypatch.setenv("ENSUENO_PORT", "82")
    assert (config.load({}).port, config.load({}).queue_limit) == (82, 7)
    other = tmp_path / "other.toml"
    other.write_text("queue_limit = 8")
    assert config.load({}, other).queue_limit == 8
    monkeypatch.setenv("ENSUENO_CONFIG", "")
    assert config.load({}).queue_limit == 100
    monkeypatch.setenv("ENSUENO_CONFIG", str(tmp_path / "nowhere.toml"))
    with pytest.raises(BadInput, match=r"nowhere\.toml cannot be read: check --config or ENSUENO_CONFIG"):
        config.load({})


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_who_may_not_look_into_the_data_dir_is_told_as_whom_he_may() -> None:
    """`ensueno doctor` by anybody, on a box whose pictures are its user's alone."""
    with tempfile.TemporaryDirectory() as closed:
        os.seteuid(65534)
        try:
            with pytest.raises(BadInput, match=r"belongs to another user: run it as that user \(sudo -u "):
                config.load({"data_dir": closed})
            with pytest.raises(BadInput, match=r"cannot be reached .*: run it as the user that it belongs to"):
                config.load({"data_dir": f"{closed}/data"})
        finally:
            os.seteuid(0)


def test_options_survive_the_way_to_a_child_process() -> None:
    options, file = serve_options("x", ["--port", "81", "--data-dir", "/a b", "--config", "c.toml"])
    again = serve_options("x", as_arguments(options, file))
    assert again == (options, file)
    assert options["data_dir"] == Path("/a b")


def test_the_picture_check_is_off_or_on_wherever_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load({}).picture_check == "off"
    assert config.load({}, write(tmp_path, 'picture_check = "on"')).picture_check == "on"
    options, file = serve_options("x", ["--picture-check", "on"])
    assert config.load(options, file).picture_check == "on"
    monkeypatch.setenv("ENSUENO_PICTURE_CHECK", "on")
    assert config.load({}).picture_check == "on"
    with pytest.raises(BadInput, match="picture_check"):
        config.load({"picture_check": "maybe"})
