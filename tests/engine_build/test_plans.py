"""Every network goes through NVIDIA's real parser and builder, on any x86-64 machine: TensorRT for RTX needs no GPU.

This proves that the graphs are taken, with dynamic profiles, in float32 and float16. It proves nothing of a plan's
numbers or speed, and nothing of a Jetson: TensorRT for RTX knows no SM 8.7.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.config import BUNDLED
from appliance.pipeline.manifest import Bundle
from appliance.plans.building import building
from appliance.plans.passport import PASSPORT, Range, check_inputs, opened_plan, read_key, read_passport
from appliance.plans.wanted import Wanted, ask, wanted
from engine_build import __main__ as command
from engine_build.plans import LARGE, inputs_for
from engine_build.targets import tensorrt_rtx
from tests.engine_build.exported import needs_rtx, taken_by_rtx
from tests.halves import make_half_bundle
from tests.tiny_bundles import make_tiny_bundle, write_manifest

pytestmark = needs_rtx
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def half_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_half_bundle(tmp_path_factory.mktemp("half") / "tiny-f16")


def build(bundle: Path, data: Path, *more: str) -> int:
    rtx = ["--target", "tensorrt-rtx", "--data-dir", str(data), "--json"]
    arguments = [*rtx, *more] if "--sm" in more else [*rtx, "--sm", "86", *more]
    return command.main(["build", str(bundle), *arguments])


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_every_network_of_the_bundled_model_is_taken_by_the_real_builder(tmp_path: Path) -> None:
    taken_by_rtx(Bundle.open(BUNDLED), tmp_path)


@pytest.mark.parametrize("sm", ["86", "89", "120"])
@pytest.mark.parametrize("which", ["tiny", "half"])
def test_every_network_is_taken_by_the_real_builder(
    which: str, sm: str, tiny_folder: Path, half_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = {"tiny": tiny_folder, "half": half_folder}[which]
    assert build(folder, tmp_path, "--sm", sm) == 0
    report = told(capsys)
    bundle = Bundle.open(folder)
    assert set(report["plans"]) == set(report["built"]) == set(bundle.manifest.components)
    place = tmp_path / "engines" / report["id"]
    assert report["out"] == str(place)
    passport = read_passport(place, read_key(tmp_path))
    check_inputs(passport, inputs_for(bundle, tensorrt_rtx.open_target(f"{sm[:-1]}.{sm[-1]}")))
    assert {part.precision for part in passport.inputs.components.values()} == {
        "float16" if which == "half" else "float32"
    }
    for name in report["plans"]:
        with opened_plan(place, name, passport) as file:
            assert len(file.read(8)) == 8


def test_profiles_come_from_the_bundle_and_are_no_wider(tiny: Bundle) -> None:
    parts = inputs_for(tiny, tensorrt_rtx.open_target("8.6")).components
    assert parts["unet"].profile == {
        "sample": Range(min=(1, 4, 8, 8), opt=(2, 4, 8, 8), max=(8, 4, 12, 12)),
        "timestep": Range(min=(1,), opt=(2,), max=(8,)),
        "encoder_hidden_states": Range(min=(1, 16, 32), opt=(2, 16, 32), max=(8, 16, 32)),
    }
    assert parts["vae_decoder"].profile["latents"] == Range(min=(1, 4, 8, 8), opt=(1, 4, 8, 8), max=(1, 4, 12, 12))
    assert parts["text_encoder"].profile["input_ids"] == Range(min=(1, 16), opt=(1, 16), max=(1, 16))


def test_a_second_build_has_nothing_to_do(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for built in (["text_encoder", "unet", "vae_decoder"], []):
        assert build(tiny_folder, tmp_path) == 0
        assert told(capsys)["built"] == built


@pytest.fixture
def built(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A finished build's folder; its data dir is `tmp_path`."""
    assert build(tiny_folder, tmp_path, "--out", str(tmp_path / "out")) == 0
    capsys.readouterr()
    return tmp_path / "out"


def test_a_damaged_plan_is_built_again_and_it_alone(
    built: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (built / "unet.plan").write_bytes((built / "unet.plan").read_bytes()[:-1] + b"x")
    assert build(tiny_folder, tmp_path, "--out", str(built)) == 0
    assert told(capsys)["built"] == ["unet"]


def test_a_passport_that_was_altered_is_not_believed(
    built: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = b"not what was built"
    outer = json.loads((built / PASSPORT).read_text())
    outer["passport"]["plans"]["unet"] = {"sha256": hashlib.sha256(evil).hexdigest(), "bytes": len(evil)}
    (built / PASSPORT).write_text(json.dumps(outer))
    (built / "unet.plan").write_bytes(evil)
    assert build(tiny_folder, tmp_path, "--out", str(built)) == 0
    captured = capsys.readouterr()
    assert "seal" in captured.err
    assert len(json.loads(captured.out)["built"]) == 3


def test_another_gpu_is_another_build(
    built: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(tiny_folder, tmp_path, "--sm", "89", "--out", str(built)) == 0
    captured = capsys.readouterr()
    assert "something else" in captured.err
    assert len(json.loads(captured.out)["built"]) == 3


def test_the_progress_file_says_how_it_ended(built: Path) -> None:
    progress = json.loads((built / "progress.json").read_text())
    assert progress["note"] == "Done."
    assert (progress["number"], progress["of"]) == (3, 3)


def process(bundle: Path, data: Path, **more: Any) -> subprocess.Popen[str]:
    code = "import sys; from engine_build.__main__ import main; sys.exit(main())"
    arguments = ["build", str(bundle), "--target", "tensorrt-rtx", "--sm", "86", "--data-dir", str(data)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True, cwd=ROOT, **more
    )


def wait_for_first_plan(data: Path, builder: subprocess.Popen[str]) -> Path:
    while builder.poll() is None:
        for path in data.glob(f"engines/*/{PASSPORT}"):
            return path.parent
        os.sched_yield()
    raise AssertionError(f"the build ended early: {builder.communicate()[1]}")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_build_that_ends_half_way_goes_on(
    signum: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the bundled model, whose UNet takes seconds: it is caught in the midst of it."""
    with process(BUNDLED, tmp_path) as builder:
        folder = wait_for_first_plan(tmp_path, builder)
        seen = building(tmp_path)
        builder.send_signal(signum)
        error = builder.communicate()[1]
    assert seen is not None
    assert (seen.of, building(tmp_path)) == (len(Bundle.open(BUNDLED).manifest.components), None)
    assert builder.returncode == (-signal.SIGKILL if signum == signal.SIGKILL else 130)
    if signum == signal.SIGTERM:
        assert "Stopped: start the build again, it goes on where it was." in error
    first = (folder / "text_encoder.plan").stat()
    assert build(BUNDLED, tmp_path) == 0
    left = [name for name in Bundle.open(BUNDLED).manifest.components if name != "text_encoder"]
    assert told(capsys)["built"] == left
    assert (folder / "text_encoder.plan").stat().st_mtime_ns == first.st_mtime_ns


def test_a_disk_that_fills_leaves_no_half_plan_and_says_what_to_do(tiny_folder: Path, tmp_path: Path) -> None:
    def small() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    with process(tiny_folder, tmp_path, preexec_fn=small) as builder:
        error = builder.communicate()[1]
    assert builder.returncode == 1
    assert "could not be written (File too large): make room there and start it again." in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".plan", ".partial")]


@pytest.mark.parametrize(
    ("kind", "parameters", "advised"),
    [(make_tiny_bundle, LARGE, True), (make_tiny_bundle, LARGE - 1, False), (make_half_bundle, LARGE, False)],
    ids=["float32", "small", "float16"],
)
def test_a_large_network_without_a_float16_graph_is_told(
    kind: Callable[[Path], Path], parameters: int, advised: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kind(tmp_path / "bundle")
    fields = json.loads((folder / "manifest.json").read_text())
    fields["components"]["unet"]["parameters"] = parameters
    write_manifest(folder, fields)
    build(folder, tmp_path / "data")
    assert ("export the bundle again with --precision f16." in capsys.readouterr().err) == advised


def test_plans_for_elsewhere_leave_what_the_box_asked_for(tiny_folder: Path, tmp_path: Path) -> None:
    asked = Wanted(target="tensorrt-rtx", bundle=tiny_folder, made_of={})
    assert ask(tmp_path, asked)
    assert build(tiny_folder, tmp_path, "--out", str(tmp_path / "elsewhere")) == 0
    assert wanted(tmp_path) == asked
    assert build(tiny_folder, tmp_path) == 0
    assert wanted(tmp_path) is None


def test_building_loads_neither_torch_nor_onnx(tiny_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from engine_build.__main__ import main; assert main() == 0;"
        "print([n for n in ('torch', 'onnx', 'diffusers', 'onnxruntime') if n in sys.modules])"
    )
    arguments = ["build", str(tiny_folder), "--target", "tensorrt-rtx", "--sm", "86", "--data-dir", str(tmp_path)]
    answer = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def test_the_bundle_is_never_written_into(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(copy, tmp_path, "--out", str(copy / "engines")) == 2
    assert "lies in the bundle" in capsys.readouterr().err
    assert not (copy / "engines").exists()


@pytest.mark.parametrize(("options", "named"), [([], "--data-dir"), (["--out", "/proc/none/out"], "--out")])
def test_a_place_that_cannot_be_is_told_by_its_option(
    options: list[str], named: str, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(tiny_folder, Path("/proc/none"), *options) == 2
    assert capsys.readouterr().err.endswith(f"cannot be made (No such file or directory): name another {named}.\n")


def test_a_plan_needs_no_time_to_be_found_again(built: Path) -> None:
    """Nothing but plans, passport, progress and lock lies there."""
    assert {path.name for path in built.iterdir()} == {
        "text_encoder.plan", "unet.plan", "vae_decoder.plan", PASSPORT, "progress.json", "build.lock",
    }  # fmt: skip
