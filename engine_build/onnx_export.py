"""One network: torch → a clean ONNX graph beside its safetensors, checked and held to torch.

The dynamo exporter writes stack traces into the graph and may silently fix a dynamic dimension; so what it
wrote is stripped, and names, dtypes and dimensions are asserted afterwards.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from appliance.errors import BadBundle, BadInput
from engine_build import weights
from engine_build.components import Axis, Network, TensorSpec
from engine_build.source import Source

OPSET = 18
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What one network became; `parameters` are those that the graph reads, `inline_bytes` lie in the graph."""

    parameters: int
    nodes: int
    onnx_bytes: int
    weights_bytes: int
    inline_bytes: int


def load(source: Source, network: Network) -> Any:
    """The torch model in float32, eval mode, from safetensors only. Raises `BadInput` if weights lack."""
    import diffusers
    import transformers

    library = {"diffusers": diffusers, "transformers": transformers}[network.library]
    dtype_name = "torch_dtype" if network.library == "diffusers" else "dtype"
    options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    folder = source.folder / network.folder
    try:
        with quiet():
            model, info = getattr(library, network.class_name).from_pretrained(
                str(folder), variant=source.variants[network.folder],
                **{dtype_name: _torch().float32}, **options,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BadInput(f"{network.folder} cannot be loaded ({first}): save it again.") from None
    missing = sorted(str(key) for key in info["missing_keys"])
    if missing or info.get("mismatched_keys"):
        name = missing[0] if missing else str(next(iter(info["mismatched_keys"])))
        raise BadInput(f"{network.folder} has no fitting weights for {name[:120]}: save it again.")
    return model.eval().requires_grad_(False)


def state_of(model: Any) -> dict[str, Array]:
    """The model's tensors by their torch names, float32 (integers as they are), as views."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def round_weights(model: Any, storage: weights.Storage) -> None:
    """Make each weight what it will be after storage, in place, so that torch and ONNX compute the same."""
    if storage == "float16":
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())


def outputs(model: Any, network: Network) -> list[Array]:
    """What torch says at each of the network's parity shapes."""
    torch = _torch()
    module = network.wrap(model)
    with torch.no_grad():
        feeds = [network.feeds(shape) for shape in network.latents]
        return [module(*(torch.from_numpy(feed[i.name]) for i in network.inputs)).numpy() for feed in feeds]


def write(model: Any, network: Network, bundle: Path, storage: weights.Storage) -> Written:
    """Store the weights, export the graph that points into them, strip, save and check it."""
    import onnx
    import onnx_ir as ir

    graph_path, weights_path = bundle / network.file, bundle / network.weights
    state = state_of(model)
    stored = weights.save(state, weights_path, storage)
    exported = _export(model, network)
    if exported.functions:
        raise BadBundle(f"{network.name}: the exporter left functions in the graph: use onnxscript 0.7.")
    used = weights.link(exported, stored, state, weights_path.name)
    proto = ir.to_proto(exported)
    _strip(proto, network.name)
    graph_path.write_bytes(proto.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(graph_path), full_check=True)
    check_tensors(network, graph_path)
    return Written(
        parameters=sum(state[name].size for name in used),
        nodes=len(proto.graph.node),
        onnx_bytes=graph_path.stat().st_size,
        weights_bytes=weights_path.stat().st_size,
        inline_bytes=sum(len(tensor.raw_data) for tensor in proto.graph.initializer),
    )


def _export(model: Any, network: Network) -> Any:
    """The dynamo export, as an `onnx_ir` model. The example batch is 2: with 1 it would be fixed."""
    torch = _torch()
    feeds = network.feeds(network.example)
    args = tuple(torch.from_numpy(feeds[tensor.name]) for tensor in network.inputs)
    dims = {name: _dim(axis) for name, axis in network.axes.items()}
    shapes = tuple(
        {index: dims[size.name] for index, size in enumerate(tensor.shape) if isinstance(size, Axis)}
        for tensor in network.inputs
    )
    with torch.no_grad():
        program = torch.onnx.export(
            network.wrap(model).eval(), args, None,
            input_names=[tensor.name for tensor in network.inputs], output_names=[network.output.name],
            opset_version=OPSET, dynamo=True, dynamic_shapes=shapes, optimize=True, verbose=False,
        )  # fmt: skip
    return program.model


def _dim(axis: Axis) -> Any:
    dim = _torch().export.Dim(axis.name, min=1, max=axis.high)
    return dim if axis.multiple == 1 else axis.multiple * dim


def _strip(proto: Any, name: str) -> None:
    """Delete what differs from run to run or tells of the building machine."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    graph.name = name
    proto.producer_name, proto.producer_version = "engine_build", ""


def check_tensors(network: Network, path: Path) -> None:
    """Assert names, dtypes and dimensions of the saved graph: a dimension fixed in silence is an error."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    for expected, found in ((network.inputs, graph.input), ((network.output,), graph.output)):
        have = [_described(value) for value in found]
        want = [_expected(tensor) for tensor in expected]
        if have != want:
            raise BadBundle(
                f"{path.name} has the tensors {'; '.join(have)} but must have {'; '.join(want)}: "
                "the exporter fixed or renamed a dimension, so the graph must not be used."
            )


def _described(value: Any) -> str:
    import onnx

    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    dims = ", ".join(dim.dim_param or str(dim.dim_value) for dim in kind.shape.dim)
    return f"{value.name} {dtype} ({dims})"


def _expected(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype} ({', '.join(str(size) for size in tensor.shape)})"


def _torch() -> Any:
    import torch

    return torch


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' chatter off standard error: it has one sentence for the user."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    chatter: Any
    for chatter in (diffusers_logging, transformers_logging):
        chatter.set_verbosity_error()
        chatter.disable_progress_bar()
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
