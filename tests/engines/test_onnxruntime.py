"""ONNX Runtime behind the engine protocol: what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.engines.cpu import cores
from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import BadBundle, EngineFault
from appliance.pipeline.manifest import Bundle
from tests.tiny_bundles import CHANNELS, LENGTH, WIDTH, make_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("engines") / "tiny"))


def unet_feeds(rows: int = 1) -> dict[str, Any]:
    return {
        "sample": np.ones((rows, CHANNELS, 8, 8), np.float32),
        "timestep": np.full(rows, 500, np.float32),
        "encoder_hidden_states": np.ones((rows, LENGTH, WIDTH), np.float32),
    }


def altered(bundle: Bundle, folder: Path, component: str, **changes: Any) -> Bundle:
    """The same bundle, whose manifest says something else of one component."""
    parts = {name: part.model_dump() for name, part in bundle.manifest.components.items()}
    parts[component] |= changes
    return Bundle.open(make_tiny_bundle(folder, components=parts))


def test_runs_a_network(bundle: Bundle) -> None:
    network = OnnxRuntime(threads=1).load(bundle, "unet")
    outputs = network.run(unet_feeds(rows=2))
    assert list(outputs) == ["noise_pred"]
    assert outputs["noise_pred"].shape == (2, CHANNELS, 8, 8)
    assert np.array_equal(outputs["noise_pred"][0], outputs["noise_pred"][1])


def test_outputs_are_the_callers_to_keep(bundle: Bundle) -> None:
    network = OnnxRuntime(threads=1).load(bundle, "unet")
    first = network.run(unet_feeds())["noise_pred"]
    kept = first.copy()
    network.run({**unet_feeds(), "timestep": np.ones(1, np.float32)})
    assert np.array_equal(first, kept)


def test_cores() -> None:
    assert cores() >= 1


def test_inputs_need_not_be_contiguous(bundle: Bundle) -> None:
    network = OnnxRuntime(threads=1).load(bundle, "unet")
    fed = unet_feeds(rows=2)
    wanted = network.run(fed)["noise_pred"]
    fed["sample"] = np.broadcast_to(fed["sample"][0], fed["sample"].shape)
    assert np.array_equal(network.run(fed)["noise_pred"], wanted)


def test_a_foreign_output_is_named(bundle: Bundle, tmp_path: Path) -> None:
    outputs = [{"name": "velocity", "dtype": "float32", "shape": ["batch", CHANNELS, "h", "w"]}]
    strange = altered(bundle, tmp_path / "strange", "unet", outputs=outputs)
    with pytest.raises(BadBundle, match="strange: the outputs of unet lack velocity"):
        OnnxRuntime().load(strange, "unet")


def test_a_foreign_input_is_named(bundle: Bundle, tmp_path: Path) -> None:
    inputs = [tensor.model_dump() for tensor in bundle.manifest.components["unet"].inputs][:2]
    strange = altered(bundle, tmp_path / "strange", "unet", inputs=inputs)
    with pytest.raises(BadBundle, match="inputs of unet hold encoder_hidden_states"):
        OnnxRuntime().load(strange, "unet")


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("int64", ["batch", LENGTH]), ("int32", ["batch", LENGTH + 1]), ("int32", ["batch", LENGTH, 1])],
)
def test_another_dtype_or_shape_is_named(bundle: Bundle, tmp_path: Path, dtype: str, shape: list[Any]) -> None:
    inputs = [{"name": "input_ids", "dtype": dtype, "shape": shape}]
    strange = altered(bundle, tmp_path / "strange", "text_encoder", inputs=inputs)
    with pytest.raises(BadBundle, match=rf"input_ids is int32 \[batch, 16\], but the manifest says {dtype}"):
        OnnxRuntime().load(strange, "text_encoder")


def test_a_broken_network_is_a_bad_bundle(tmp_path: Path) -> None:
    folder = make_tiny_bundle(tmp_path / "broken")
    (folder / "onnx" / "unet.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(BadBundle, match=r"ONNX Runtime cannot load onnx/unet\.onnx"):
        OnnxRuntime().load(Bundle.open(folder), "unet")


def test_missing_weights_are_a_bad_bundle(tmp_path: Path) -> None:
    folder = make_tiny_bundle(tmp_path / "light")
    (folder / "onnx" / "unet.onnx.data").unlink()
    with pytest.raises(BadBundle, match="cannot load"):
        OnnxRuntime().load(Bundle.open(folder), "unet")


@pytest.mark.parametrize(
    "change",
    [
        {"sample": np.ones((1, CHANNELS + 1, 8, 8), np.float32)},
        {"sample": np.ones((1, CHANNELS, 8, 8), np.float64)},
        {"foreign": np.ones(1, np.float32)},
    ],
    ids=["shape", "dtype", "name"],
)
def test_wrong_feeds_are_a_fault(bundle: Bundle, change: dict[str, Any], capfd: Any) -> None:
    network = OnnxRuntime(threads=1).load(bundle, "unet")
    with pytest.raises(EngineFault, match="ONNX Runtime could not run unet") as caught:
        network.run(unet_feeds() | change)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "its own log would speak beside our sentence"


def test_a_closed_network_says_so(bundle: Bundle) -> None:
    network = OnnxRuntime(threads=1).load(bundle, "text_encoder")
    network.close()
    with pytest.raises(EngineFault, match="closed"):
        network.run({"input_ids": np.zeros((1, LENGTH), np.int32)})
