"""int8 is accepted only if the golden pictures hold, and FP8 only where a GPU has it.

The Q/DQ graph is ONNX Runtime's: NVIDIA Model Optimizer cannot live in this environment (docs/quantize.md has it).
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.ladder import golden
from appliance.pipeline.manifest import Bundle
from engine_build import __main__ as command
from engine_build.model_optimizer import Feeds

PROMPTS = "a red apple\n\n  two people on the mountain  \n"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text(PROMPTS)
    return path


def quantize(bundle: Path, prompts: Path, out: Path, *more: str) -> int:
    return command.main(["quantize", str(bundle), "--prompts", str(prompts), "--out", str(out), *more])


def test_a_bundle_in_int8_draws_nearly_the_same_and_is_taken_by_the_builder(
    tiny_folder: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(tiny_folder, prompts, tmp_path / "int8") == 0, capsys.readouterr().err
    bundle = Bundle.open(tmp_path / "int8")
    bundle.verify()
    assert bundle.manifest.components["unet"].precision == "int8"
    assert bundle.manifest.title == "tiny 0.0.1-int8"
    assert golden.stored(bundle) is not None
    if platform.machine() == "x86_64":
        rtx = ["--target", "tensorrt-rtx", "--sm", "86", "--data-dir", str(tmp_path / "data")]
        assert command.main(["build", str(bundle.folder), *rtx]) == 0, capsys.readouterr().err


def test_pictures_that_do_not_hold_leave_nothing_behind(
    tiny_folder: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(golden.COSINE, "int8", 1.0)
    assert quantize(tiny_folder, prompts, tmp_path / "int8") == 2
    assert "In int8 the pictures do not hold: The latents' cosine" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.txt"]


@pytest.mark.parametrize(
    ("python", "told"),
    [
        (sys.executable, "No module named 'modelopt'): install nvidia-modelopt[onnx]"),
        ("nowhere/python", "No such file"),
    ],
)
def test_without_the_optimizer_it_says_how_to_get_it(
    tiny_folder: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], python: str, told: str
) -> None:
    assert quantize(tiny_folder, prompts, tmp_path / "int8", "--optimizer", python) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.txt"]


def test_the_optimizer_reads_what_the_network_was_fed(tmp_path: Path) -> None:
    """Call by call, and again from the first after `rewind`."""
    one, other = np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32)
    told: dict[str, Any] = {"0/sample": one, "1/sample": other}
    np.savez(tmp_path / "feeds.npz", **told)
    feeds = Feeds(str(tmp_path / "feeds.npz"))
    for _ in range(2):
        for want in (one, other):
            call = feeds.get_next()
            assert call is not None
            assert np.array_equal(call["sample"], want)
        assert feeds.get_next() is None
        feeds.rewind()


@pytest.mark.parametrize(
    ("sm", "told"), [("87", "SM 8.7 does not have (Orin is 8.7): use --format int8"), ("89", "not offered yet")]
)
def test_fp8_is_refused_with_the_reason(
    tiny_folder: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], sm: str, told: str
) -> None:
    assert quantize(tiny_folder, prompts, tmp_path / "fp8", "--format", "fp8", "--sm", sm) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("text", [b"", b"\n \n", b"\xff\xfe", None])
def test_prompts_that_are_none_are_told(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes | None
) -> None:
    path = tmp_path / "prompts.txt"
    if text is not None:
        path.write_bytes(text)
    assert quantize(tiny_folder, path, tmp_path / "int8") == 2
    assert "prompt" in capsys.readouterr().err
