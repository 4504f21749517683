"""OpenVINO behind the engine protocol: the same numbers as ONNX Runtime, at every shape, and the same sentences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.engines import openvino
from appliance.engines.onnxruntime import OnnxRuntime
from appliance.engines.openvino import OpenVino
from appliance.errors import BadBundle, EngineFault, NoEngine
from appliance.pipeline.manifest import Bundle
from tests.tiny_bundles import CHANNELS, LENGTH, WIDTH, make_tiny_bundle

GATE = 1e-5


def unet_feeds(rows: int = 1, height: int = 8, width: int = 8) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    return {
        "sample": rng.standard_normal((rows, CHANNELS, height, width), np.float32),
        "timestep": np.linspace(1, 999, rows, dtype=np.float32),
        "encoder_hidden_states": rng.standard_normal((rows, LENGTH, WIDTH), np.float32),
    }


FEEDS: dict[str, Any] = {
    "text_encoder": {"input_ids": np.arange(LENGTH, dtype=np.int32)[None]},
    "unet": unet_feeds(rows=2),
    "vae_decoder": {"latents": unet_feeds(rows=1)["sample"]},
}


def relative(have: Any, want: Any) -> float:
    return float(np.linalg.norm(have - want) / np.linalg.norm(want))


@pytest.mark.parametrize("component", FEEDS)
def test_gives_the_numbers_of_onnx_runtime(tiny: Bundle, component: str) -> None:
    have = OpenVino(threads=1).load(tiny, component).run(FEEDS[component])
    want = OnnxRuntime(threads=1).load(tiny, component).run(FEEDS[component])
    assert list(have) == list(want)
    for name in want:
        assert have[name].dtype == want[name].dtype
        assert relative(have[name], want[name]) < GATE


def test_every_shape_is_compiled_once_and_none_changes_the_numbers(tiny: Bundle) -> None:
    network = OpenVino(threads=1).load(tiny, "unet")
    reference = OnnxRuntime(threads=1).load(tiny, "unet")
    shapes = [(1, 8, 8), (2, 8, 8), (2, 8, 12), (1, 8, 8)]
    for rows, height, width in shapes:
        fed = unet_feeds(rows, height, width)
        assert relative(network.run(fed)["noise_pred"], reference.run(fed)["noise_pred"]) < GATE
    assert len(network._compiled) == len(set(shapes))  # type: ignore[attr-defined]


@pytest.mark.parametrize("room", [0, 1, 2])
def test_with_little_memory_one_network_of_free_shapes_serves_the_rest(
    room: int, tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tiny.manifest.files["onnx/unet.onnx.data"].bytes
    monkeypatch.setattr(openvino, "available_memory", lambda: room * 8 * stored)
    network = OpenVino(threads=1).load(tiny, "unet")
    reference = OnnxRuntime(threads=1).load(tiny, "unet")
    for rows in (1, 2, 3, 2):
        fed = unet_feeds(rows)
        assert relative(network.run(fed)["noise_pred"], reference.run(fed)["noise_pred"]) < GATE
        assert len(network._compiled) <= max(1, room)  # type: ignore[attr-defined]
    assert None in network._compiled  # type: ignore[attr-defined]


def test_outputs_are_the_callers_to_keep(tiny: Bundle) -> None:
    network = OpenVino(threads=1).load(tiny, "unet")
    first = network.run(unet_feeds())["noise_pred"]
    kept = first.copy()
    network.run({**unet_feeds(), "timestep": np.ones(1, np.float32)})
    assert np.array_equal(first, kept)


def test_feeds_may_be_read_only_and_need_not_be_contiguous(tiny: Bundle) -> None:
    network = OpenVino(threads=1).load(tiny, "unet")
    fed = unet_feeds(rows=2)
    fed["sample"] = np.ascontiguousarray(fed["sample"].transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    fed["encoder_hidden_states"].flags.writeable = False
    want = OnnxRuntime(threads=1).load(tiny, "unet").run(fed)["noise_pred"]
    assert relative(network.run(fed)["noise_pred"], want) < GATE


def test_bfloat16_is_had_only_where_the_cpu_multiplies_in_it() -> None:
    """Where it is had, golden pictures judge it: `tests/ladder/test_ladder.py`."""
    if "BF16" in OpenVino()._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        engine = OpenVino(threads=1, precision="bfloat16")
        assert (engine.name, engine.precision) == ("openvino-bf16", "bfloat16")
    else:
        with pytest.raises(NoEngine, match="does not multiply in bfloat16"):
            OpenVino(threads=1, precision="bfloat16")


def test_a_foreign_output_is_named(tmp_path: Path, tiny: Bundle) -> None:
    parts = {name: part.model_dump() for name, part in tiny.manifest.components.items()}
    parts["unet"]["outputs"] = [{"name": "velocity", "dtype": "float32", "shape": ["batch", CHANNELS, "h", "w"]}]
    strange = Bundle.open(make_tiny_bundle(tmp_path / "strange", components=parts))
    with pytest.raises(BadBundle, match="strange: the outputs of unet lack velocity"):
        OpenVino(threads=1).load(strange, "unet")


@pytest.mark.parametrize("damage", ["unet.onnx", "unet.onnx.data"])
def test_a_broken_network_is_a_bad_bundle(tmp_path: Path, damage: str) -> None:
    folder = make_tiny_bundle(tmp_path / "broken")
    (folder / "onnx" / damage).write_bytes(b"nothing of the kind")
    with pytest.raises(BadBundle, match=r"OpenVINO cannot load onnx/unet\.onnx") as caught:
        OpenVino(threads=1).load(Bundle.open(folder), "unet")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"sample": np.ones((1, CHANNELS + 1, 8, 8), np.float32)}, {"foreign": np.ones(1, np.float32)}],
    ids=["shape", "name"],
)
def test_wrong_feeds_are_a_fault(tiny: Bundle, change: dict[str, Any]) -> None:
    network = OpenVino(threads=1).load(tiny, "unet")
    with pytest.raises(EngineFault, match="unet") as caught:
        network.run(unet_feeds() | change)
    assert "\n" not in str(caught.value)


def test_a_closed_network_says_so(tiny: Bundle) -> None:
    network = OpenVino(threads=1).load(tiny, "text_encoder")
    network.close()
    with pytest.raises(EngineFault, match="closed"):
        network.run(FEEDS["text_encoder"])


def test_a_stop_is_heard_after_engines_have_come_and_gone(tiny: Bundle) -> None:
    """In a process of its own, since with a core of OpenVINO's for each engine the signal kills it."""
    code = """
import signal, sys
from pathlib import Path
import numpy as np
from appliance.engines.openvino import OpenVino
from appliance.pipeline.manifest import Bundle

def drawn():
    network = OpenVino(threads=1).load(bundle, "text_encoder")
    network.run({"input_ids": np.zeros((1, bundle.manifest.tokenizer.max_length), np.int32)})
    return network

signal.signal(signal.SIGTERM, lambda *_: print("heard"))
bundle = Bundle.open(Path(sys.argv[1]))
first, second = drawn(), drawn()
del first
del second
signal.raise_signal(signal.SIGTERM)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tiny.folder)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "heard\n"), ended.stderr
