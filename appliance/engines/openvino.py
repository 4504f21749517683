"""OpenVINO on the CPU: quicker than ONNX Runtime once it knows the shapes, and in bfloat16 where the CPU multiplies so.

Each (batch, size) is compiled when it is met. Every compiled network holds weights of its own, so only as many are
kept as fit in a part of the free memory; one network of free shapes serves all the others.
"""

from __future__ import annotations

import functools
from typing import Any

import openvino as ov
from numpy.typing import NDArray
from pydantic import ValidationError

from appliance.engines import Network, Precision, Tensors, check_tensors
from appliance.engines.cpu import available_memory, cores
from appliance.errors import BadBundle, EngineFault, NoEngine
from appliance.pipeline.manifest import Bundle, Tensor

Shapes = tuple[tuple[int, ...], ...]

_DEVICE = "CPU"
_PRECISIONS: dict[Precision, tuple[str, str]] = {  # the engine's name, OpenVINO's hint
    "float32": ("openvino", "f32"),
    "bfloat16": ("openvino-bf16", "bf16"),
}
_DTYPES = {"f32": "float32", "f16": "float16", "i32": "int32", "i64": "int64"}
_SHARE_OF_MEMORY = 4  # a network's compiled shapes take at most this part of the free memory
_STORED_IN_HALF = 2  # float16 on the disk, float32 in memory


@functools.cache
def _core() -> Any:
    """The one of this process, for its whole life.

    OpenVINO's CPU plugin gives the thread that loads it a signal stack of its own, and puts back the one before when it
    goes. Of two, the one that goes first leaves the other to put back a stack that is no more: the next signal, such as
    SIGTERM, is then a segmentation fault.
    """
    return ov.Core()


class OpenVino:
    """The engine; `threads` None takes every core. Raises `NoEngine` for bfloat16 on a CPU without it."""

    def __init__(self, threads: int | None = None, precision: Precision = "float32") -> None:
        self.name, hint = _PRECISIONS[precision]
        self.precision = precision
        self._core = _core()
        if precision == "bfloat16" and "BF16" not in self._core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"):
            raise NoEngine("This CPU does not multiply in bfloat16: use the engine openvino.")
        self._settings = {
            "INFERENCE_NUM_THREADS": threads or cores(),
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
        }

    def load(self, bundle: Bundle, component: str) -> Network:
        """Read one component and hold it to the manifest; nothing is compiled yet. Raises `BadBundle`."""
        declared = bundle.manifest.components[component]
        try:
            model = self._core.read_model(str(bundle.path(declared.file)))
        except RuntimeError as error:
            raise BadBundle(
                f"{bundle.folder.name}: OpenVINO cannot load {declared.file} ({_brief(error)}): "
                "run `ensueno model verify`, then copy or export the bundle again."
            ) from None
        where = f"{bundle.folder.name}: the %s of {component}"
        check_tensors(where % "inputs", declared.inputs, _tensors(model.inputs, bundle))
        check_tensors(where % "outputs", declared.outputs, _tensors(model.outputs, bundle))
        stored = bundle.manifest.files[declared.weights or declared.file].bytes
        room = available_memory() // _SHARE_OF_MEMORY // (_STORED_IN_HALF * max(1, stored))
        return _Network(component, self._core, model, self._settings, room)


class _Network:
    """Compiled networks by the shapes of their feeds; `None` stands for the one of free shapes."""

    def __init__(self, component: str, core: Any, model: Any, settings: dict[str, Any], room: int) -> None:
        self._component = component
        self._core = core
        self._model = model
        self._settings = settings
        self._room = room
        self._inputs = sorted(entry.any_name for entry in model.inputs)
        self._outputs = [entry.any_name for entry in model.outputs]  # a compiled network may call them otherwise
        self._compiled: dict[Shapes | None, Any] = {}

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Outputs by tensor name. Raises `EngineFault` with OpenVINO's reason."""
        if self._model is None:
            raise EngineFault(f"{self._component} was closed: load the bundle again.")
        if sorted(feeds) != self._inputs:
            raise EngineFault(f"{self._component} takes {', '.join(self._inputs)}, not {', '.join(sorted(feeds))}.")
        try:
            outputs = self._request(feeds).infer(dict(feeds), share_inputs=True)
        except RuntimeError as error:
            raise EngineFault(f"OpenVINO could not run {self._component} ({_brief(error)}).") from None
        return dict(zip(self._outputs, outputs.values(), strict=True))

    def close(self) -> None:
        self._compiled.clear()
        self._model = None

    def _request(self, feeds: Tensors) -> Any:
        met: Shapes | None = tuple(feeds[name].shape for name in self._inputs)
        if met not in self._compiled and len(self._compiled) >= self._room:
            met = None
            if met not in self._compiled and self._compiled:
                self._compiled.popitem()  # the last comer gives its place to the one that serves all others
        if met not in self._compiled:
            self._compiled[met] = self._compile(met)
        return self._compiled[met]

    def _compile(self, shapes: Shapes | None) -> Any:
        model = self._model
        if shapes is not None:
            model = model.clone()
            model.reshape(dict(zip(self._inputs, map(list, shapes), strict=True)))
        return self._core.compile_model(model, _DEVICE, self._settings).create_infer_request()


def _tensors(ports: Any, bundle: Bundle) -> list[Tensor]:
    """What the model says of its tensors, in the manifest's words."""
    try:
        return [
            Tensor.model_validate(
                {
                    "name": port.any_name,
                    "dtype": _DTYPES.get(port.element_type.get_type_name(), port.element_type.get_type_name()),
                    "shape": [size.get_length() if size.is_static else str(size) for size in port.partial_shape],
                }
            )
            for port in ports
        ]
    except ValidationError:
        raise BadBundle(
            f"{bundle.folder.name}: a network's tensor is of no dtype that a bundle may have: export it again."
        ) from None


def _brief(error: Exception) -> str:
    """The telling line of OpenVINO's message: its last that is no place in a source file, at most 200 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or [type(error).__name__])[-1][:200].rstrip(" .:")
