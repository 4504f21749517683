"""One network: torch → a clean ONNX graph beside its safetensors, checked and held to torch.

The dynamo exporter writes stack traces into the graph and may silently fix a dynamic dimension; so what it
wrote is stripped, and names, dtypes and dimensions are asserted afterwards.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from appliance.errors import BadBundle, BadInput
from engine_build import weights
from engine_build.components import Axis, Network, TensorSpec
from engine_build.parity import Answers
from engine_build.source import Source
from engine_build.tensor_file import read_header

Opset = Literal[18, 23]
OPSET: Opset = 18  # every engine takes it; 23 has Attention, which TensorRT has no float32 kernels for
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
    from diffusers.pipelines import stable_diffusion

    libraries = {"diffusers": diffusers, "transformers": transformers, "stable_diffusion": stable_diffusion}
    library = libraries[network.library]
    dtype_name = "torch_dtype" if network.library == "diffusers" else "dtype"
    options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    folder = source.folders[network.folder]
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
    """The model's tensors by their torch names, in its own type, as views."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def round_weights(model: Any, storage: weights.Storage) -> bool:
    """Make each weight what it will be after storage, in place, so that torch and ONNX compute the same.

    → whether any of them was another number before.
    """
    changed = False
    floats = (tensor for tensor in model.state_dict().values() if tensor.is_floating_point())
    for tensor in floats if storage == "float16" else ():
        rounded = tensor.half().float()
        changed = changed or not bool((rounded == tensor).all())
        tensor.copy_(rounded)
    return changed


def outputs(model: Any, network: Network) -> Answers:
    """What torch says at each of the network's parity shapes, by output."""
    torch = _torch()
    module, answers = network.wrap(model), []
    with torch.no_grad():
        for feed in (network.feeds(shape) for shape in network.latents):
            given = module(*(torch.from_numpy(feed[tensor.name]) for tensor in network.inputs))
            given = given if isinstance(given, tuple) else (given,)
            names = (tensor.name for tensor in network.outputs)
            answers.append({name: value.numpy() for name, value in zip(names, given, strict=True)})
    return answers


def largest(model: Any, network: Network) -> float:
    """The largest magnitude that any module of the model gives at the parity shapes; infinite where one gives NaN.

    In the model's own type, since a CPU's float16 is emulated: Stable Diffusion 1.5's UNet took over 18 minutes in it.
    """
    seen = [0.0]

    def look(module: Any, given: Any, answer: Any) -> None:
        for tensor in _tensors_in(answer):
            top = float(tensor.abs().max())
            seen[0] = max(seen[0], top if top == top else float("inf"))

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    try:
        outputs(model, network)
    finally:
        for hook in hooks:
            hook.remove()
    return seen[0]


def _tensors_in(answer: Any) -> Iterator[Any]:
    """The tensors of numbers in what a module gave."""
    if isinstance(answer, (tuple, list)):
        for part in answer:
            yield from _tensors_in(part)
    elif isinstance(answer, dict):
        yield from _tensors_in(list(answer.values()))
    elif getattr(answer, "is_floating_point", bool)() and answer.numel():
        yield answer


def write(model: Any, network: Network, bundle: Path, storage: weights.Storage, opset: Opset = OPSET) -> Written:
    """Store the weights, unless another network of the same folder has, and write the graph that points into them."""
    weights_path = bundle / network.weights
    if not weights_path.exists():
        weights.save(state_of(model), weights_path, storage)
    return write_graph(model, network, bundle / network.file, weights_path, opset)


def write_graph(model: Any, network: Network, graph_path: Path, weights_path: Path, opset: Opset = OPSET) -> Written:
    """Export in the model's own type the graph that points into stored weights; strip, save and check it."""
    import onnx
    import onnx_ir as ir

    state, stored = state_of(model), read_header(weights_path)
    exported = _export(model, network, opset)
    if exported.functions:
        raise BadBundle(f"{network.name}: the exporter left functions in the graph: use onnxscript 0.7.")
    used = weights.link(exported, stored, state, weights_path.name)
    proto = ir.to_proto(exported)
    _strip(proto, network.name)
    _name_dimensions(proto, network)
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


def _export(model: Any, network: Network, opset: Opset) -> Any:
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
            input_names=[tensor.name for tensor in network.inputs],
            output_names=[tensor.name for tensor in network.outputs],
            opset_version=opset, dynamo=True, dynamic_shapes=shapes, optimize=True, verbose=False,
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


def _name_dimensions(proto: Any, network: Network) -> None:
    """Give outputs the declared name of a dimension for which the exporter found no formula, only "s39".

    A VAE encoder's halvings end like that. The parity shapes then prove what the name says.
    """
    for tensor, value in zip(network.outputs, proto.graph.output, strict=True):
        for size, dim in zip(tensor.shape, value.type.tensor_type.shape.dim, strict=True):
            if isinstance(size, Axis) and re.fullmatch(r"[su]\d+", dim.dim_param):
                dim.dim_param = str(size)


def check_tensors(network: Network, path: Path) -> None:
    """Assert names, dtypes and dimensions of the saved graph: a dimension fixed in silence is an error."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    for expected, found in ((network.inputs, graph.input), (network.outputs, graph.output)):
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
