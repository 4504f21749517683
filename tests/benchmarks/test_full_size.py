"""The check at true size says beforehand where it would not fit; itself it takes gigabytes and is run by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from appliance.errors import BadInput
from benchmarks import full_size
from benchmarks.full_size import GIB, MODELS, check_machine, main


def machine(root: Path, meminfo: str) -> Path:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/meminfo").write_text(meminfo)
    return root


def test_a_small_machine_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"sdxl needs about \d+ GiB of memory and 8\.0 GiB are available"):
        check_machine("sdxl", MODELS["sdxl"], tmp_path, machine(tmp_path, f"MemAvailable:   {8 << 20} kB\n"))


def test_a_machine_that_does_not_say_is_refused(tmp_path: Path) -> None:
    for text in ("", "MemAvailable:", "MemAvailable: much"):
        with pytest.raises(BadInput, match="does not say"):
            full_size.available(machine(tmp_path, text))


def test_sdxl_needs_more_than_sd() -> None:
    assert 8 * GIB < MODELS["sd15"].memory < MODELS["sdxl"].memory


def test_it_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(full_size, "available", lambda path: GIB)
    assert main(["sd15", "--work", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_stage_is_measured_in_a_process_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    stage = full_size.run("nothing", [sys.executable, "-c", "x = bytearray(64 << 20)"])
    assert stage.name == "nothing"
    assert stage.seconds >= 0 < stage.cpu_seconds
    assert stage.peak_gib > 1 / 16
    with pytest.raises(BadInput, match="failed with status 3"):
        full_size.run("a fault", [sys.executable, "-c", "raise SystemExit(3)"])
