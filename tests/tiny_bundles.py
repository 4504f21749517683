"""A complete model bundle, tiny and untrained, made in milliseconds without torch.

    bundle = Bundle.open(make_tiny_bundle(tmp_path / "tiny"))

Its pictures are colourful noise that depends on the words, the seed and the steps: enough for every test that needs
a picture. Real operators (Conv, GroupNorm-like normalisation, MatMul, Softmax) so that engines have something to do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from appliance.pipeline.manifest import MANIFEST, Manifest, sha256
from appliance.pipeline.schedulers import compatible

CHANNELS = 4
SCALE = 8
LENGTH = 16
WIDTH = 32
HIDDEN = 32
SIZES = [[64, 64], [96, 64], [64, 96]]
PLACES: dict[str, Any] = {  # changes for a bundle that reads words in templates; it has none for pt
    "locales": ["en", "en-GB", "es", "pt"],
    "locale_prompts": {"en": "en-us: {}", "en-GB": "en-gb: {}", "es": "({}) es"},
}
_TYPES: dict[str, int] = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
}


def make_tiny_bundle(folder: Path, name: str = "tiny", prediction_type: str = "flow", **changes: Any) -> Path:
    """Write the bundle and return its folder; `changes` replace top-level fields of the manifest."""
    (folder / "onnx").mkdir(parents=True)
    (folder / "tokenizer").mkdir()
    tokenizer = make_tokenizer()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    components = {}
    for part, graph in {
        "text_encoder": text_encoder(tokenizer.get_vocab_size()),
        "unet": unet(),
        "vae_decoder": vae_decoder(),
    }.items():
        components[part] = save_network(folder, part, graph)
    fields: dict[str, Any] = {
        "name": name,
        "version": "0.0.1",
        "licence": "Apache-2.0",
        "components": components,
        "tokenizer": {
            "file": "tokenizer/tokenizer.json",
            "max_length": LENGTH,
            "bos_token_id": tokenizer.token_to_id("<|startoftext|>"),
            "eos_token_id": tokenizer.token_to_id("<|endoftext|>"),
            "pad_token_id": tokenizer.token_to_id("<|endoftext|>"),
        },
        "scheduler": {"prediction_type": prediction_type, "allowed": compatible(prediction_type)},
        "latents": {"channels": CHANNELS, "scale": SCALE, "scaling_factor": 0.5, "shift_factor": 0.1},
        "sizes": SIZES,
        "limits": {"batch": 8, "steps": [1, 50], "guidance": [0.0, 10.0], "count": 4},
        "defaults": {"steps": 4, "guidance": 3.0, "locale": "en"},
        "preview": {
            "patch": 2,
            "matrix": random("preview", CHANNELS, 12).tolist(),
            "bias": [0.0] * 12,
        },
        "locales": ["en", "es"],
        "examples": {"en": ["a red apple", "two people on the mountain"], "es": ["una manzana roja"]},
        "files": {},
    }
    write_manifest(folder, fields | changes)
    return folder


def make_starting_bundle(folder: Path, **changes: Any) -> Path:
    """The same with a `vae_encoder`: it can start from a picture."""
    make_tiny_bundle(folder, **changes)
    fields = json.loads((folder / MANIFEST).read_text("utf-8"))
    fields["components"]["vae_encoder"] = save_network(folder, "vae_encoder", vae_encoder())
    write_manifest(folder, fields)
    return folder


def make_checked_bundle(folder: Path, bright: float, **changes: Any) -> Path:
    """The same as `make_tiny_bundle` with a safety checker that flags whatever is brighter than `bright`, 0 to 1."""
    make_tiny_bundle(folder, **changes)
    fields = json.loads((folder / MANIFEST).read_text("utf-8"))
    fields["components"]["safety_checker"] = save_network(folder, "safety_checker", safety_checker())
    fields["picture_check"] = {"resize": 16, "size": 16, "mean": [bright] * 3, "std": [1.0] * 3}
    write_manifest(folder, fields)
    return folder


def write_manifest(folder: Path, fields: dict[str, Any]) -> None:
    """Write manifest.json with the present sizes and hashes of all the folder's files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {
        path.relative_to(folder).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size} for path in paths
    }
    manifest = Manifest.model_validate(fields | {"files": files})
    text = json.dumps(manifest.model_dump(mode="json"), indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def save_network(folder: Path, name: str, graph: onnx.GraphProto) -> dict[str, Any]:
    """Write onnx/<name>.onnx with its weights beside it; returns the manifest's component."""
    file, weights = f"onnx/{name}.onnx", f"{name}.onnx.data"
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.save(model, folder / file, save_as_external_data=True, location=weights, size_threshold=64)
    return {
        "file": file,
        "weights": f"onnx/{weights}",
        "inputs": [declared(value) for value in graph.input],
        "outputs": [declared(value) for value in graph.output],
        "parameters": sum(int(np.prod(weight.dims)) for weight in graph.initializer),
    }


def declared(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """A graph's tensor as the manifest declares it."""
    names = {number: dtype for dtype, number in _TYPES.items()}
    dimensions = value.type.tensor_type.shape.dim
    return {
        "name": value.name,
        "dtype": names[value.type.tensor_type.elem_type],
        "shape": [dimension.dim_param or dimension.dim_value for dimension in dimensions],
    }


def make_tokenizer() -> Tokenizer:
    """A CLIP-like byte-level BPE without merges: one token for each byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(char + "</w>" for char in alphabet), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={word: index for index, word in enumerate(words)},
            merges=[],
            end_of_word_suffix="</w>",
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def random(name: str, *shape: int) -> NDArray[np.float32]:
    """Weights that depend on the name only, scaled by 1/sqrt(fan in)."""
    seed = int.from_bytes(name.encode()[-8:], "little")
    fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
    values: NDArray[np.float32] = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    values /= np.float32(np.sqrt(fan_in))
    return values


class Graph:
    """Collects nodes and weights; every method gives the name of the tensor it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        output = to or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def weight(self, name: str, *shape: int) -> str:
        return self.constant(name, random(name, *shape))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def made(self, name: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> onnx.GraphProto:
        taken, given = (
            [helper.make_tensor_value_info(key, _TYPES[dtype], shape) for key, (dtype, shape) in part.items()]
            for part in (inputs, outputs)
        )
        return helper.make_graph(self.nodes, name, taken, given, initializer=self.weights)


def text_encoder(vocabulary: int) -> onnx.GraphProto:
    graph = Graph()
    words = graph.op("Gather", graph.weight("token_embedding", vocabulary, WIDTH), "input_ids")
    words = graph.op("Mul", words, graph.constant("gain", np.array([20.0], np.float32)))
    placed = graph.op("Add", words, graph.weight("position", LENGTH, WIDTH))
    mixed = graph.op("MatMul", graph.weight("mixer", LENGTH, LENGTH), placed)
    graph.op("Tanh", graph.op("MatMul", mixed, graph.weight("projection", WIDTH, WIDTH)), to="prompt_embeds")
    return graph.made(
        "text_encoder",
        {"input_ids": ("int32", ["batch", LENGTH])},
        {"prompt_embeds": ("float32", ["batch", LENGTH, WIDTH])},
    )


def unet() -> onnx.GraphProto:
    """Conv, time shift, cross-attention over the words, conv: a UNet's parts, once each."""
    graph = Graph()
    inside = graph.op("Conv", "sample", graph.weight("conv_in", HIDDEN, CHANNELS, 3, 3), pads=[1, 1, 1, 1])
    clock = graph.op("Mul", "timestep", graph.constant("per_step", np.array([0.001], np.float32)))
    clock = graph.op("Unsqueeze", clock, graph.constant("axis_1", np.array([1], np.int64)))
    shift = graph.op("MatMul", clock, graph.weight("time_embedding", 1, HIDDEN))
    shift = graph.op("Unsqueeze", shift, graph.constant("axes_23", np.array([2, 3], np.int64)))
    inside = graph.op("Tanh", graph.op("Add", inside, shift))
    flat = graph.op("Reshape", inside, graph.constant("flat", np.array([0, HIDDEN, -1], np.int64)))
    query = graph.op("Transpose", flat, perm=[0, 2, 1])
    keys = graph.op("MatMul", "encoder_hidden_states", graph.weight("to_k", WIDTH, HIDDEN))
    values = graph.op("MatMul", "encoder_hidden_states", graph.weight("to_v", WIDTH, HIDDEN))
    scores = graph.op("MatMul", query, graph.op("Transpose", keys, perm=[0, 2, 1]))
    attended = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), values)
    attended = graph.op("Transpose", attended, perm=[0, 2, 1])
    back = graph.op("Reshape", attended, graph.op("Shape", inside))
    mixed = graph.op("Tanh", graph.op("Add", inside, back))
    graph.op("Conv", mixed, graph.weight("conv_out", CHANNELS, HIDDEN, 3, 3), pads=[1, 1, 1, 1], to="noise_pred")
    latents = ("float32", ["batch", CHANNELS, "height", "width"])
    return graph.made(
        "unet",
        {
            "sample": latents,
            "timestep": ("float32", ["batch"]),
            "encoder_hidden_states": ("float32", ["batch", LENGTH, WIDTH]),
        },
        {"noise_pred": latents},
    )


def vae_decoder() -> onnx.GraphProto:
    graph = Graph()
    wide = graph.op("Conv", "latents", graph.weight("conv_wide", 3 * SCALE * SCALE, CHANNELS, 3, 3), pads=[1, 1, 1, 1])
    graph.op("Tanh", graph.op("DepthToSpace", wide, blocksize=SCALE), to="image")
    return graph.made(
        "vae_decoder",
        {"latents": ("float32", ["batch", CHANNELS, "height", "width"])},
        {"image": ("float32", ["batch", 3, "8*height", "8*width"])},
    )


def safety_checker() -> onnx.GraphProto:
    graph = Graph()
    axes = graph.constant("axes", np.array([1, 2, 3], np.int64))
    light = graph.op("Mul", "clip_input", graph.constant("light", np.ones((3, 16, 16), np.float32)))
    graph.op("ReduceMean", light, axes, to="score", keepdims=0)
    return graph.made(
        "safety_checker", {"clip_input": ("float32", ["batch", 3, 16, 16])}, {"score": ("float32", ["batch"])}
    )


def vae_encoder() -> onnx.GraphProto:
    graph = Graph()
    deep = graph.op("SpaceToDepth", "image", blocksize=SCALE)
    kernel = graph.weight("conv_deep", CHANNELS, 3 * SCALE * SCALE, 3, 3)
    graph.op("Conv", deep, kernel, pads=[1, 1, 1, 1], to="latents")
    return graph.made(
        "vae_encoder",
        {"image": ("float32", ["batch", 3, "8*height", "8*width"])},
        {"latents": ("float32", ["batch", CHANNELS, "height", "width"])},
    )
