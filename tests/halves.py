"""The tiny bundle in float16: every float of its graphs and tensors halved, as an f16 export has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tests.tiny_bundles import make_tiny_bundle, save_network, write_manifest


def make_half_bundle(folder: Path) -> Path:
    """Write the bundle and return its folder."""
    make_tiny_bundle(folder, name="tiny-f16")
    fields = json.loads((folder / "manifest.json").read_text())
    for name, component in fields["components"].items():
        graph = onnx.load(folder / component["file"]).graph
        (folder / component["weights"]).unlink()
        fields["components"][name] = save_network(folder, name, _halved(graph))
    write_manifest(folder, fields)
    return folder


def _halved(graph: onnx.GraphProto) -> onnx.GraphProto:
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type
        if kind.elem_type == TensorProto.FLOAT:
            kind.elem_type = TensorProto.FLOAT16
    return graph
