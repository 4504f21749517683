"""One export of a flow model (AutoencoderTiny, float16) and everything that must hold of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from appliance.engines.onnxruntime import OnnxRuntime
from appliance.engines.openvino import OpenVino
from appliance.errors import BadBundle
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.plans.blueprint import sources
from appliance.request import GenerationRequest
from engine_build import builder, onnx_export, parity
from engine_build.__main__ import main
from engine_build.build_progress import BuildProgress
from engine_build.components import Axis, Network
from engine_build.families import declared
from engine_build.source import Source
from engine_build.targets import tensorrt_rtx
from engine_build.tensor_file import read_header
from tests.engine_build.exported import needs_rtx

pytestmark = pytest.mark.timeout(900)  # an export is half a minute of work, longer beside a training run
NETWORKS = ("text_encoder", "unet", "vae_decoder", "vae_encoder")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exported(flow_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """(bundle, report), by the command in a process of its own."""
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    return out, run_export(flow_folder, out)


def run_export(folder: Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "engine_build", "export", str(folder), "--out", str(out), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def bundle(exported: tuple[Path, dict[str, Any]]) -> Path:
    """Never to be changed: take `copy` for that."""
    return exported[0]


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(
        shutil.copytree(
            bundle,
            tmp_path / "copy",
        )
    )


@pytest.fixture(scope="module")
def source(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The diffusers folder of the bundle, as the command writes it."""
    out = tmp_path_factory.mktemp("sources") / "tiny"
    assert main(["source", str(bundle), "--out", str(out)]) == 0
    return out


def networks(folder: Path) -> dict[str, Network]:
    return {network.name: network for network in declared("sd", Source.open(folder))}


def reference(network: Network, folder: Path) -> parity.Reference:
    """What torch says of the weights that a bundle's source folder links to."""
    with onnx_export.quiet():
        answers = onnx_export.outputs(onnx_export.load(Source.open(folder), network), network)
    return parity.Reference(answers, answers)


def test_the_manifest_says_what_the_folder_and_its_card_say(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert (manifest.name, manifest.version, manifest.licence) == ("tiny-flow", "3", "CC0-1.0")
    assert manifest.sizes == [[64, 64], [96, 64]]
    assert (manifest.defaults.steps, manifest.defaults.guidance) == (4, 3.0)
    assert (manifest.latents.channels, manifest.latents.scale) == (4, 8)
    assert (manifest.scheduler.prediction_type, manifest.scheduler.shift) == ("flow", 2.0)
    assert manifest.components["unet"].inputs[0].shape == ["batch", 4, "2*h", "2*w"]
    assert manifest.components["vae_decoder"].outputs[0].shape == ["batch", 3, "8*h", "8*w"]
    assert manifest.components["vae_encoder"].inputs[0].shape == ["batch", 3, "8*h", "8*w"]
    assert manifest.components["vae_encoder"].outputs[0].shape == ["batch", 4, "h", "w"]
    assert manifest.preview is not None
    assert manifest.locale_prompts == {"en": "the {}", "es": "{}"}
    assert "source" not in {Path(name).parts[0] for name in manifest.files}


def test_verify_accepts_it_without_torch(bundle: Path) -> None:
    code = (
        "import sys; from engine_build.__main__ import main; status = main(sys.argv[1:]);"
        "print({'torch', 'onnx', 'diffusers'} & set(sys.modules)); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "verify", str(bundle), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"ok": true' in done.stdout
    assert done.stdout.endswith("set()\n")


def test_every_network_answers_as_torch_does(exported: tuple[Path, dict[str, Any]]) -> None:
    for report in exported[1]["components"]:
        assert report["error"] <= 1e-5
        assert 0 < report["error_from_original"] < 1e-2
        assert sorted(shape[0] for shape in report["shapes"]) == [1, 2, 3]


def test_weights_are_stored_once_under_their_own_names(bundle: Path, source: Path) -> None:
    declarations = networks(source)
    for name in NETWORKS:
        stored = read_header(bundle / declarations[name].weights)
        graph = onnx.load(str(bundle / f"onnx/{name}.onnx"), load_external_data=False).graph
        outside = [tensor for tensor in graph.initializer if tensor.external_data]
        for tensor in outside:
            place = {entry.key: entry.value for entry in tensor.external_data}
            home = stored[tensor.name.partition(":")[0]]
            assert f"onnx/{place['location']}" == declarations[name].weights
            assert (int(place["offset"]), int(place["length"])) == (home.offset, home.length)
        inside = [tensor for tensor in graph.initializer if not tensor.external_data]
        assert sum(len(tensor.raw_data) for tensor in inside) < 1024
        assert len(outside) > len(inside)
        assert all(tensor.dtype == "F16" for tensor in stored.values())


def test_the_graph_tells_nothing_of_the_machine_that_made_it(bundle: Path) -> None:
    for name in NETWORKS:
        model = onnx.load(str(bundle / f"onnx/{name}.onnx"), load_external_data=False)
        assert not model.metadata_props
        assert not model.graph.value_info
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
        assert b"site-packages" not in (bundle / f"onnx/{name}.onnx").read_bytes()


def test_diffusers_loads_the_source_folder(source: Path, flow_folder: Path) -> None:
    with onnx_export.quiet():
        import diffusers

        library: Any = diffusers
        pipelines = [
            library.StableDiffusionPipeline.from_pretrained(str(folder), local_files_only=True)
            for folder in (flow_folder, source)
        ]
    for part in ("text_encoder", "unet", "vae"):
        before, after = (getattr(pipeline, part).state_dict() for pipeline in pipelines)
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            assert (after[name] == tensor.half().float()).all(), f"{part} {name}"
    assert any(name.startswith("encoder.") for name in pipelines[1].vae.state_dict())
    assert pipelines[1].tokenizer("a red dog").input_ids == pipelines[0].tokenizer("a red dog").input_ids


def test_a_picture_comes_out(bundle: Path) -> None:
    pipeline = TextToImage.load(Bundle.open(bundle))
    offer = pipeline.bundle.manifest.offer()
    latents = []
    for seed, words in ((1, "a red apple"), (1, "the dog"), (2, "a red apple")):
        request = GenerationRequest.of({"prompt": words, "seed": seed, "width": 96, "height": 64}, offer)
        *_, last = pipeline.denoise(request)
        latents.append(last.latents)
        assert pipeline.decode(last.latents).shape == (64, 96, 3)
    assert not np.array_equal(latents[0], latents[1])
    assert not np.array_equal(latents[0], latents[2])


def test_a_second_export_from_the_bundles_own_source_gives_the_same_bytes(
    bundle: Path, source: Path, tmp_path: Path
) -> None:
    """In another process; float16 weights round to themselves, so it is as good as the first folder."""
    again = tmp_path / "again"
    assert main(["export", str(source), "--out", str(again)]) == 0
    names = sorted(path.relative_to(bundle) for path in bundle.rglob("*"))
    assert names == sorted(path.relative_to(again) for path in again.rglob("*"))
    for name in names:
        assert not (bundle / name).is_symlink()
        if (bundle / name).is_file():
            assert (bundle / name).read_bytes() == (again / name).read_bytes(), name


def test_a_corrupted_weight_fails_parity_and_verify(
    copy: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = networks(source)["unet"]
    answers = reference(network, source)
    assert parity.check(network, OnnxRuntime().load(Bundle.open(copy), "unet"), answers).error < 1e-5

    path = copy / network.weights
    tensors = load_file(path)
    tensors["conv_in.weight"] = tensors["conv_in.weight"] * np.float16(1.01)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(BadBundle, match="does not compute what torch computes"):
        parity.check(network, OnnxRuntime().load(Bundle.open(copy), "unet"), answers)

    assert main(["verify", str(copy)]) == 2
    assert "sha256 differs" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", ["fixed", "swapped", "renamed"])
def test_a_dimension_that_is_not_as_declared_is_caught(spoil: str, copy: Path, source: Path) -> None:
    network = networks(source)["unet"]
    path = copy / network.file
    onnx_export.check_tensors(network, path)
    model = onnx.load(str(path), load_external_data=False)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    if spoil == "fixed":
        dims[0].dim_value = 2
    elif spoil == "swapped":
        dims[2].dim_param, dims[3].dim_param = dims[3].dim_param, dims[2].dim_param
    else:
        model.graph.input[1].name = "t"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BadBundle, match="must not be used"):
        onnx_export.check_tensors(network, path)


def test_a_network_that_fixes_a_dimension_is_not_exported(source: Path, tmp_path: Path) -> None:
    """The text encoder with a body that only knows a batch of two, as a careless `chunk` would have it."""
    import torch

    class Careless(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            first, second = self.model(input_ids, return_dict=False)[0].chunk(2, 0)
            return torch.cat([second, first])

    network = dataclasses.replace(networks(source)["text_encoder"], wrap=Careless)
    (tmp_path / "onnx").mkdir()
    with onnx_export.quiet():
        model = onnx_export.load(Source.open(source), network)
        with pytest.raises(Exception, match=r"must not be used|[Cc]onstraint"):
            onnx_export.write(model, network, tmp_path, "float16")


@needs_rtx
def test_opset_23_attends_in_one_operator_with_the_same_numbers_and_tensorrt_refuses_it(
    copy: Path, source: Path, tmp_path: Path
) -> None:
    """In float32: so it is no default, and a bundle that has it needs a float16 set beside it for TensorRT."""
    network = networks(source)["unet"]
    with onnx_export.quiet():
        model = onnx_export.load(Source.open(source), network)
        onnx_export.write_graph(model, network, copy / network.file, copy / network.weights, 23)
    graph = onnx.load(str(copy / network.file), load_external_data=False).graph
    assert "Attention" in {node.op_type for node in graph.node}
    assert "Softmax" not in {node.op_type for node in graph.node}
    answers, changed = reference(network, source), Bundle.open(copy)
    for engine in (OnnxRuntime(), OpenVino()):
        assert parity.check(network, engine.load(changed, "unet"), answers).error < 1e-5
    profile, progress = sources(changed)["unet"].profile, BuildProgress(tmp_path / "progress.json", ["unet"])
    with pytest.raises(BadBundle, match="no kernel for the Attention of opset 23 in this precision"):
        builder.build(
            tensorrt_rtx.open_target("8.6"), "unet", copy / network.file, profile, b"", progress, lambda: False
        )


def test_a_bundle_is_replaced_and_a_failed_export_leaves_it(
    copy: Path, copy_of_flow: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*ignored: object) -> None:
        raise BadBundle("no parity")

    before = (copy / "manifest.json").read_bytes()
    monkeypatch.setattr(onnx_export, "write", fail)
    assert main(["export", str(copy_of_flow), "--out", str(copy), "--version", "4"]) == 2
    assert capsys.readouterr().err.endswith("no parity\n")
    assert (copy / "manifest.json").read_bytes() == before
    assert sorted(path.name for path in copy.parent.iterdir()) == ["copy", "folder"]


@pytest.mark.parametrize(
    ("links", "said"),
    [
        (
            {"unet/model.safetensors": "../elsewhere"},
            "leads out of the bundle (unet/model.safetensors): export it again",
        ),
        ({"../model.safetensors": "onnx/unet.safetensors"}, "leads out of the bundle (../model.safetensors)"),
        ({"unet/model.safetensors": "onnx/gone"}, "copy has no onnx/gone, which source/links.json names: copy the"),
    ],
)
def test_a_source_that_leads_elsewhere_is_refused(
    copy: Path, tmp_path: Path, links: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "source" / "links.json").write_text(json.dumps(links))
    before = sorted(tmp_path.iterdir())
    assert main(["source", str(copy), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_source_folder_is_new(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["source", str(bundle), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path} exists: name a folder that does not.\n"


def test_what_a_bundle_holds_of_it_is_no_whole_folder(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(bundle / "source"), "--out", str(tmp_path / "out")]) == 2
    assert "write it whole with `python -m engine_build source BUNDLE --out FOLDER` first" in capsys.readouterr().err


def test_axes_are_what_a_profile_needs(source: Path) -> None:
    axes = networks(source)["unet"].axes
    assert axes["h"] == Axis("h", 2, 512)
    assert axes["batch"].multiple == 1


def test_missing_weights_are_refused(copy_of_flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy_of_flow / "text_encoder/model.safetensors"
    tensors = load_file(path)
    del tensors["final_layer_norm.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    assert main(["export", str(copy_of_flow), "--out", str(tmp_path / "out")]) == 2
    assert "no fitting weights for final_layer_norm.weight" in capsys.readouterr().err
