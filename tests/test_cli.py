"""The command `ensueno`: what it prints, where, and with which exit status."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from appliance import config, generate, serve
from appliance.cli import main
from appliance.job import JobState
from appliance.journal import Journal
from appliance.options import add_serve_options
from appliance.request import GenerationRequest, Offer
from tests.served import free_port

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    """Every command runs in an empty folder with the tiny bundle and a data dir of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENSUENO_BUNDLE", str(tiny_folder))
    monkeypatch.setenv("ENSUENO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ENSUENO_PORT", str(free_port()))


def test_generate_prints_the_path_as_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a red apple", "--seed", "7"]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path.name == "a-red-apple-7.png"
    with Image.open(path) as picture:
        assert picture.size == (64, 64)


def test_the_same_seed_gives_the_same_file_content(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        assert main(["generate", "una manzana", "--seed", "3", "--locale", "es", "--out", name]) == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_without_a_seed_the_same_sentence_dreams_a_new_picture(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        main(["generate", "an apple", "--out", name])
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_several_pictures_are_numbered(tmp_path: Path) -> None:
    assert main(["generate", "apples", "--count", "3", "--out", "apples.png", "--seed", "1"]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["apples-1.png", "apples-2.png", "apples-3.png"]


def test_json_is_one_object_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "apples", "--count", "2", "--seed", "4294967295", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [image["seed"] for image in told["images"]] == [4294967295, 0]
    assert told["engine"] == "onnxruntime"
    assert told["truncated"] is None


def test_a_prompt_too_long_for_the_model_is_drawn_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "very long " * 100, "--seed", "1"]) == 0
    assert "truncated" in capsys.readouterr().err


BAD = {
    "empty": ["generate", ""],
    "too long": ["generate", "x" * 2001],
    "control characters": ["generate", "a\x00b"],
    "half a character": ["generate", "a\ud800"],
    "size not offered": ["generate", "a", "--size", "65x64"],
    "size not a size": ["generate", "a", "--size", "big"],
    "NaN guidance": ["generate", "a", "--guidance", "nan"],
    "negative seed": ["generate", "a", "--seed", "-1"],
    "seed too large": ["generate", "a", "--seed", "4294967296"],
    "seed not a number": ["generate", "a", "--seed", "x"],
    "no such scheduler": ["generate", "a", "--scheduler", "magic"],
    "no such locale": ["generate", "a", "--locale", "Spanish!"],
    "too many": ["generate", "a", "--count", "99"],
    "no such bundle": ["generate", "a", "--bundle", "nowhere"],
    "no such folder": ["generate", "a", "--out", "no/such/folder.png"],
    "a folder as a file": ["generate", "a", "--out", "."],
    "nothing as a file": ["generate", "a", "--out", "/", "--count", "2"],
    "two doors": ["generate", "a", "--server", "http://localhost:1", "--mqtt", "mqtt://localhost:1"],
    "an option of a door not taken": ["generate", "a", "--device", "attic"],
    "no server": ["generate", "a", "--server", ""],
    "no such port of a server": ["generate", "a", "--server", "http://localhost:99999"],
    "no end of waiting": ["generate", "a", "--mqtt", "mqtt://localhost:1", "--timeout", "nan"],
    "waiting for a word": ["generate", "a", "--mqtt", "mqtt://localhost:1", "--timeout", "abc"],
    "no threads": ["model", "activate", "bundled", "--threads", "0"],
    "a file as the data dir": ["status", "--data-dir", "/etc/hostname"],
    "a data dir that cannot be": ["model", "install", "x", "--data-dir", "/proc/none"],
    "no host": ["serve", "--host", ""],
    "keeping nothing": ["serve", "--keep-mib", "0"],
    "not a url": ["generate", "a", "--server", "box.local"],
    "half a url": ["generate", "a", "--server", "http://[::1"],
    "no such option": ["generate", "a", "--colour", "red"],
    "no command": [],
    "no such command": ["dream"],
    "no such configuration": ["serve", "--config", "nowhere.toml"],
    "no such port": ["serve", "--port", "99999"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_exit_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "invalid _" not in output.err
    assert len(output.err.splitlines()) == 1
    assert "Traceback" not in output.err


def test_every_option_of_serve_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    add_serve_options(parser)
    options = {action.dest for action in parser._actions} - {"help", "config"}
    assert options <= config.Settings.model_fields.keys()
    told: list[Any] = []
    monkeypatch.setattr(serve, "serve", lambda settings, arguments, open_page: told.extend([settings, arguments]))
    assert main(["serve", "--keep-mib", "5", "--keep-days", "0.5", "--tls"]) == 0
    settings, arguments = told
    assert (settings.keep_mib, settings.keep_days, settings.tls) == (5, 0.5, True)
    assert " ".join(arguments) == "--tls --keep-mib 5 --keep-days 0.5"


def test_a_picture_that_could_not_be_kept_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "here", lambda *_: pytest.fail("it draws"))
    assert main(["generate", "a", "--out", str(tmp_path / "none" / "a.png")]) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_a_picture_leaves_nothing_at_home_and_the_data_dir_is_its_owners(tiny_folder: Path, tmp_path: Path) -> None:
    """ONNX Runtime keeps figures for Microsoft under ~/.cache, unless it is told not to before it is imported."""
    home = tmp_path / "home"
    home.mkdir()
    told = {"HOME": str(home), "PATH": "", "ENSUENO_BUNDLE": str(tiny_folder)}
    command = [sys.executable, "-m", "appliance", "generate", "a red apple", "--out", str(tmp_path / "a.png")]
    drawn = subprocess.run(command, capture_output=True, text=True, env=told, cwd=ROOT)
    assert drawn.returncode == 0, drawn.stderr
    assert {path.name for path in home.iterdir()} == {".local"}
    assert (home / ".local/share/ensueno").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("prompt", ["🍎🍎", "תפוח אדום", "تفاحة حمراء"], ids=["emoji", "Hebrew", "Arabic"])
def test_every_script_is_words(prompt: str) -> None:
    assert main(["generate", prompt, "--seed", "1", "--steps", "1"]) == 0


def test_no_picture_overwrites_another(tmp_path: Path) -> None:
    for steps in ("1", "2"):
        assert main(["generate", "apple", "--seed", "1", "--steps", steps]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["apple-1-2.png", "apple-1.png"]


def test_a_damaged_bundle_is_refused_before_it_is_loaded(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shutil.copytree(tiny_folder, tmp_path / "broken")
    weights = bundle / "onnx" / "unet.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert main(["generate", "a", "--bundle", str(bundle)]) == 2
    assert "sha256 differs" in capsys.readouterr().err
    weights.unlink()
    assert main(["model", "verify", str(bundle)]) == 2
    assert "is missing" in capsys.readouterr().err


def test_a_box_that_does_not_answer_is_not_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a", "--server", "http://127.0.0.1:9"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_model_verify_says_a_whole_bundle_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "verify"]) == 0
    assert "is whole" in capsys.readouterr().out


def test_model_list_names_the_bundles_that_come_along(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "list", "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), list)


def test_doctor_finds_a_good_machine_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    assert all(finding["good"] for finding in json.loads(capsys.readouterr().out))


def test_doctor_names_what_is_wrong_and_still_looks_at_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--bundle", "nowhere"]) == 1
    output = capsys.readouterr()
    assert "✗ bundle" in output.out
    assert "✓ python" in output.out
    assert output.err.count("\n") == 1


def test_status_of_a_box_never_used_says_how_to_start_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 1
    assert "ensueno serve" in capsys.readouterr().err


def test_status_tells_jobs_by_state(tmp_path: Path, tiny_offer: Offer, capsys: pytest.CaptureFixture[str]) -> None:
    Journal(tmp_path / "data" / "journal.db", reserve=0).submit(GenerationRequest.of({"prompt": "a"}, tiny_offer))
    assert main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["jobs"][JobState.QUEUED.value] == 1
    assert told["engine_alive"] is False
    assert main(["status"]) == 0
    assert "not running" in capsys.readouterr().out


def test_a_picture_to_start_from_and_a_mask(
    tmp_path: Path, starting_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "photo.png")
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    mask.save(tmp_path / "mask.png")
    command = ["generate", "a", "--seed", "1", "--bundle", str(starting_folder), "--out", "out.png"]
    assert main([*command, "--image", "photo.png", "--mask", "mask.png", "--strength", "0.7"]) == 0
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.getpixel((60, 30)) == (255, 0, 0)
        assert "Denoising strength: 0.7" in picture.text["parameters"]
    for options, word in ((["--image", "no.png"], "--image"), (["--mask", "mask.png"], "needs a picture")):
        capsys.readouterr()
        assert main([*command, *options]) == 2
        assert word in capsys.readouterr().err


def test_the_bundle_must_be_able_to_start_from_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "photo.png")
    assert main(["generate", "a", "--image", "photo.png"]) == 2
    assert "vae_encoder" in capsys.readouterr().err
