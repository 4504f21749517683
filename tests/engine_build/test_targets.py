"""What cannot be built is told in one sentence with its remedy, in TensorRT's own known words or before it is asked."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from appliance.errors import BadBundle, BadInput, Unavailable
from appliance.pipeline.manifest import Bundle
from appliance.plans import gpu
from appliance.plans.blueprint import sources
from engine_build import builder, memory, remedies
from engine_build.__main__ import main
from engine_build.build_progress import BuildProgress
from engine_build.targets import library, tensorrt, tensorrt_rtx
from tests.tiny_bundles import make_tiny_bundle

SOURCES = Path(builder.__file__).parent
REMOVED = {
    "FP16", "INT8", "BF16", "FP8", "INT4", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS", "WEIGHTLESS",
    "EXPLICIT_BATCH", "CUBLAS", "CUBLAS_LT", "CUDNN", "int8_calibrator", "QuantizationFlag", "precision_is_set",
    "set_output_type", "dynamic_range", "algorithm_selector", "platform_has_fast_fp16", "supports_model",
    "has_implicit_batch_dimension", "parse_with_weight_descriptors", "create_runtime_config",
    "build_engine_with_config", "build_serialized_network_to_stream", "tiling_optimization_level",
}  # fmt: skip
"""Gone in TensorRT 11, or not yet there in 10.3."""


@pytest.mark.parametrize("file", ["builder.py", "targets/tensorrt.py", "targets/__init__.py"])
def test_only_names_that_work_from_tensorrt_10_3_to_11_are_used(file: str) -> None:
    tree = ast.parse((SOURCES / file).read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & REMOVED


def test_strong_typing_is_named_never_numbered() -> None:
    calls = [
        ast.unparse(node)
        for node in ast.walk(ast.parse((SOURCES / "builder.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("create_network")
    ]
    assert calls == ["builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))"]


# --- libraries and GPUs ------------------------------------------------------------------------------------------


def failing(error: Exception) -> Any:
    def load(name: str) -> ModuleType:
        raise error

    return load


def test_a_missing_dla_library_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError("libnvdla_compiler.so: cannot open shared object file: No such file or directory")
    monkeypatch.setattr(importlib, "import_module", failing(error))
    with pytest.raises(Unavailable, match=r"libnvdla_compiler\.so.*install nvidia-l4t-dla-compiler, in a container"):
        tensorrt.open_target(None)


def test_a_build_without_it_ends_with_that_sentence(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib, "import_module", failing(OSError("libnvdla_compiler.so: cannot open shared object")))
    assert main(["build", str(tiny_folder), "--target", "tensorrt", "--data-dir", str(tmp_path / "data")]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "nvidia-l4t-dla-compiler" in said.err
    assert not list(tmp_path.rglob("*.plan"))


@pytest.mark.parametrize(("module", "remedy"), [("tensorrt", "python3-libnvinfer"), ("tensorrt_rtx", "pip install")])
def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, module: str, remedy: str) -> None:
    monkeypatch.setattr(importlib, "import_module", failing(ImportError(f"No module named '{module}'")))
    with pytest.raises(Unavailable, match=remedy):
        library(module)


def test_type_stubs_are_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", ModuleType)
    with pytest.raises(Unavailable, match="not installed"):
        library("tensorrt")


class Trt(ModuleType):
    """Stands for a TensorRT that loads: proves nothing of building."""

    Builder = object
    __version__ = "10.3.0"


def test_tensorrt_builds_for_the_gpu_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpu", lambda: gpu.Gpu("Orin", "8.7"))
    monkeypatch.setattr(importlib, "import_module", Trt)
    target = tensorrt.open_target(None)
    assert (target.sm, target.gpu, target.version) == ("8.7", "Orin", "10.3.0")
    with pytest.raises(BadInput, match=r"Orin \(SM 8\.7\): leave --sm out"):
        tensorrt.open_target("8.6")


def test_without_a_gpu_tensorrt_says_where_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpu", lambda: None)
    monkeypatch.setattr(importlib, "import_module", Trt)
    with pytest.raises(Unavailable, match="run this on the device"):
        tensorrt.open_target(None)


def test_tensorrt_for_rtx_knows_no_jetson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpu", lambda: None)
    with pytest.raises(BadInput, match=r"not 8\.7: on a Jetson use --target tensorrt"):
        tensorrt_rtx.open_target("8.7")
    with pytest.raises(BadInput, match="say what to build for"):
        tensorrt_rtx.open_target(None)


@pytest.mark.parametrize("sm", ["x", "8", "8600", "-86"])
def test_an_sm_must_look_like_one(sm: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "somewhere", "--target", "tensorrt-rtx", f"--sm={sm}"]) == 2
    assert "must look like 86" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64", "36.4.3"),
        ("# R38 (release), REVISION: 2.0, GCID: 1", "38.2.0"),
        ("something else", None),
        ("", None),
    ],
)
def test_the_jetson_says_its_system(tmp_path: Path, text: str, version: str | None) -> None:
    (tmp_path / "release").write_text(text)
    assert gpu.l4t(tmp_path / "release") == version
    assert gpu.l4t(tmp_path / "nowhere") is None


# --- what TensorRT says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Target GPU SM 87 is not supported by this TensorRT release.", "install the one of your JetPack"),
        ('checkFallbackPluginImporter: "Plugin not found, are the plugin name..."', "optimiser writes them"),
        ("IBuilder::buildSerializedNetwork: Myelin (CHECK(composite_op->is_decomposable()) failed.", "18"),
        ("[pass.cpp:1500: run_passes] Cannot compile for target(s) sm86, because the model contains "
         "HW-specific datatypes: fp8_e4m3.", "quantize to int8"),
        ("API Usage Error (Network has dynamic or shape inputs, but no optimization profile has been defined)",
         "report this"),
        ("WeightsContext.cpp:203: Failed to open file: model.onnx.data", "copy the bundle again"),
        ("Error Code 1: Cuda Runtime (cudaError 35: CUDA driver version is insufficient)", "driver is missing"),
        ("[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)", "add swap"),
        ("Unable to load library: libnvinfer_lean.so.1", "lean runtime"),
        ("something never heard of", "report this with what TensorRT said"),
    ],
)  # fmt: skip
def test_a_known_text_becomes_a_remedy(said: str, remedy: str) -> None:
    sentence = remedies.of_build("unet", ["another line", said] if "never heard" not in said else [said])
    assert sentence.startswith("unet cannot be built (")
    assert remedy in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_no_reason_is_a_sentence_too() -> None:
    assert "gave no reason" in remedies.of_build("unet", [])


def test_an_int64_input_is_refused_before_tensorrt_is_asked(tmp_path: Path) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path / "tiny"))
    text = bundle.manifest.components["text_encoder"]
    ids = text.inputs[0].model_copy(update={"dtype": "int64"})
    changed = {**bundle.manifest.components, "text_encoder": text.model_copy(update={"inputs": [ids]})}
    wide = Bundle(bundle.folder, bundle.manifest.model_copy(update={"components": changed}))
    with pytest.raises(BadBundle, match=r"takes no int64, as input_ids is: export the bundle again"):
        sources(wide)


# --- memory ------------------------------------------------------------------------------------------------------


def machine(root: Path, available: int, swap: int) -> Path:
    (root / "proc").mkdir(exist_ok=True)
    text = f"MemTotal:  8000000 kB\nMemAvailable:  {available} kB\nSwapFree:  {swap} kB\n"
    (root / "proc/meminfo").write_text(text)
    return root


def test_too_little_memory_is_told_before_the_build_begins(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        memory.check(tiny, "unet", machine(tmp_path, 100_000, 0))
    assert "takes about 0.5 GiB of memory and 0.1 GiB are free" in str(caught.value)
    assert "swap" in str(caught.value)
    memory.check(tiny, "unet", machine(tmp_path, 100_000, 1_000_000))
    memory.check(tiny, "unet", tmp_path / "no such machine")


def test_the_estimate_is_near_what_was_measured(tiny: Bundle) -> None:
    unet = tiny.manifest.components["unet"].model_copy(update={"parameters": 859_520_000})
    components = {**tiny.manifest.components, "unet": unet}
    big = Bundle(tiny.folder, tiny.manifest.model_copy(update={"components": components}))
    assert memory.needed_gib(big, "unet") == pytest.approx(11.1, rel=0.1)


# --- progress ----------------------------------------------------------------------------------------------------


def test_progress_is_the_part_of_the_part(tmp_path: Path) -> None:
    progress = BuildProgress(tmp_path / "progress.json", ["unet"], clock=iter(range(1000)).__next__)
    progress.begin("unet")
    progress.phase_start("Building engine", None, 4)
    progress.step_complete("Building engine", 0)
    progress.phase_start("Optimizing", "Building engine", 10)
    progress.step_complete("Optimizing", 4)
    assert progress.fraction == pytest.approx((1 + 0.5) / 4)
    progress.phase_finish("Optimizing")
    progress.step_complete("Building engine", 3)
    assert progress.fraction == 1.0
