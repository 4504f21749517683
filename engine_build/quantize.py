"""`quantize`: the UNet's convolutions and matrix products in int8, calibrated on the owner's own prompts.

The graph gets QuantizeLinear/DequantizeLinear pairs (Q/DQ), which TensorRT and ONNX Runtime both read. The new bundle
is written only if its golden pictures hold to those of the old one (`golden.COSINE["int8"]`). Who places the pairs is a
`Quantizer`: NVIDIA Model Optimizer, in an environment of its own, or ONNX Runtime's tools, which are at hand.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from appliance.engines import Network, Tensors
from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import BadBundle, BadInput
from appliance.ladder import golden
from appliance.pipeline.manifest import Bundle, FileEntry, Manifest, sha256
from appliance.pipeline.text_to_image import TextToImage
from appliance.plans.passport import GoldenResult
from appliance.request import GenerationRequest
from engine_build.bundle_folder import built_beside, check_place, write_manifest

Say = Callable[[str], None]
Feeds = list[dict[str, NDArray[Any]]]
Quantizer = Callable[[Path, Feeds, Path], None]
"""(float32 graph whose weights are constants, what it was fed, where the int8 graph goes)"""
Format = Literal["int8", "fp8"]

UNET = "unet"
FILE = "onnx/unet.int8.onnx"
WEIGHTS = "onnx/unet.int8.onnx.data"
MODEL_OPTIMIZER = Path(__file__).with_name("model_optimizer.py")
MOST_PROMPTS = 64
_STEPS = 4
_OPS = ("Conv", "MatMul", "Gemm")
_FP8_SM = 8.9


def quantize(bundle: Bundle, prompts: list[str], out: Path, quantizer: Quantizer, say: Say) -> dict[str, Any]:
    """Write the bundle `out`; → the report. Raises `BadInput`, or `BadBundle` when the pictures do not hold."""
    bundle.verify()
    check_place(out)
    pipeline = TextToImage.load(bundle)
    reference = golden.stored(bundle) or golden.draw(pipeline)
    pipeline.close()
    say(f"calibrating on {len(prompts)} prompts")
    feeds = calibration(bundle, prompts)
    with built_beside(out) as folder:
        _copy(bundle, folder)
        _write_int8(bundle.path(bundle.manifest.components[UNET].file), feeds, quantizer, folder)
        manifest = _described(bundle.manifest, folder, reference)
        result = _judge(Bundle(folder, manifest), reference)
        write_manifest(folder, manifest)
    say(f"latents' cosine with float32's: {result.cosine:.6f}")
    return {"bundle": str(out), "name": manifest.name, "version": manifest.version, "cosine": result.cosine}


def check_format(wanted: Format, sm: str | None) -> None:
    """Raises `BadInput` for FP8 where no such arithmetic is, with the reason."""
    if wanted == "int8":
        return
    if sm is None or float(sm) < _FP8_SM:
        where = "this machine" if sm is None else f"SM {sm}"
        raise BadInput(
            f"FP8 needs the arithmetic of an Ada GPU (SM 8.9) or newer, which {where} does not have "
            "(Orin is 8.7): use --format int8."
        )
    raise BadInput("FP8 is not offered yet: its pictures were never judged on such a GPU; use --format int8.")


def read_prompts(path: Path) -> list[str]:
    """One prompt a line. Raises `BadInput`."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"{path} cannot be read: name a text file with one prompt a line.") from None
    prompts = [line for line in lines if line][:MOST_PROMPTS]
    if not prompts:
        raise BadInput(f"{path} holds no prompts: write some that the box will be asked, one a line.")
    return prompts


def calibration(bundle: Bundle, prompts: list[str]) -> Feeds:
    """What the UNet is fed while the prompts are drawn, at the bundle's default size."""
    offer = bundle.manifest.offer()
    steps = min(max(_STEPS, offer.steps[0]), offer.steps[1])
    recorder = _Recorder()
    pipeline = TextToImage.load(bundle, recorder)
    for seed, prompt in enumerate(prompts):
        wish = GenerationRequest.of({"prompt": prompt, "seed": seed, "steps": steps}, offer)
        for _ in pipeline.denoise(wish):
            pass
    pipeline.close()
    return recorder.seen


class _Recorder(OnnxRuntime):
    """ONNX Runtime that keeps what the UNet is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Feeds = []

    def load(self, bundle: Bundle, component: str) -> Network:
        network = super().load(bundle, component)
        return _Recorded(network, self.seen) if component == UNET else network


class _Recorded:
    def __init__(self, network: Network, seen: Feeds) -> None:
        self._network = network
        self._seen = seen

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        self._seen.append({name: np.array(value) for name, value in feeds.items()})
        return self._network.run(feeds)

    def close(self) -> None:
        self._network.close()


def _copy(bundle: Bundle, folder: Path) -> None:
    """What the new bundle has in common with the old: all but the UNet and the reference of its pictures."""
    unet = bundle.manifest.components[UNET]
    without = {unet.file, unet.weights, unet.f16, golden.REFERENCE}
    for name in bundle.manifest.files.keys() - without:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path(name), folder / name)


def by_onnxruntime(graph: Path, feeds: Feeds, out: Path) -> None:
    """ONNX Runtime's static quantization, of the nodes that hold weights."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with _quiet():
        quantize_static(
            str(graph), str(out), _reader(feeds),
            quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            nodes_to_quantize=_weighted(graph), use_external_data_format=True,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )  # fmt: skip


def by_model_optimizer(python: Path) -> Quantizer:
    """NVIDIA Model Optimizer, run by the Python of its own environment. The quantizer raises `BadInput` without it."""

    def quantizer(graph: Path, feeds: Feeds, out: Path) -> None:
        fed = graph.with_name("feeds.npz")
        told: dict[str, Any] = {
            f"{call}/{name}": value for call, feed in enumerate(feeds) for name, value in feed.items()
        }
        np.savez(fed, **told)
        command = [str(python), str(MODEL_OPTIMIZER), str(graph), str(fed), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise BadInput(f"{python} cannot be run ({error.strerror}): name its environment's bin/python.") from None
        if done.returncode != 0:
            why = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1][:200].rstrip(".")
            raise BadInput(
                f"Model Optimizer did not quantize ({why}): install nvidia-modelopt[onnx] into an environment of its "
                "own and name that environment's bin/python."
            )

    return quantizer


def _write_int8(graph: Path, feeds: Feeds, quantizer: Quantizer, folder: Path) -> None:
    """The int8 graph with its weights beside it, of the float32 one with its constants folded."""
    import onnx

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        folded, written = Path(scratch) / "folded.onnx", Path(scratch) / "int8.onnx"
        _fold(graph, folded)
        quantizer(folded, feeds, written)
        model = onnx.load(written)
    model.graph.ClearField("value_info")
    onnx.save(model, folder / FILE, save_as_external_data=True, location=Path(WEIGHTS).name, size_threshold=1024)


def _fold(graph: Path, folded: Path) -> None:
    """Weights that are stored in float16 become the constants that they are computed as; no operator is fused."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 4
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "folded.data")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _weighted(path: Path) -> list[str]:
    """The nodes that multiply by weights. Between two activations (attention) int8 costs much and saves little."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if node.op_type in _OPS and weights & set(node.input[1:2])]


def _reader(feeds: Feeds) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._left, None)

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's tools log advice that is not for the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _described(old: Manifest, folder: Path, reference: list[golden.Array]) -> Manifest:
    """The manifest with the int8 UNet, held to the float32 one's pictures."""
    (folder / golden.REFERENCE).write_bytes(golden.packed(reference))
    unet = old.components[UNET].model_copy(update={"file": FILE, "weights": WEIGHTS, "f16": None, "precision": "int8"})
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    files = {name: FileEntry(sha256=sha256(folder / name), bytes=(folder / name).stat().st_size) for name in names}
    return old.model_copy(
        update={
            "version": f"{old.version}-int8",
            "components": {**old.components, UNET: unet},
            "files": files,
        }
    )


def _judge(bundle: Bundle, reference: list[golden.Array]) -> GoldenResult:
    """Raises `BadBundle` when the pictures do not hold."""
    pipeline = TextToImage.load(bundle)
    result = golden.examine(pipeline, reference, "int8")
    pipeline.close()
    if not result.passed:
        raise BadBundle(
            f"In int8 the pictures do not hold: {result.reason} Nothing was written: calibrate on more prompts, "
            "or stay with the bundle as it is."
        )
    return result
