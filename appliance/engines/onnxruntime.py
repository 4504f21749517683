"""ONNX Runtime on the CPU: the engine that runs everywhere, and the reference for the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import ValidationError

from appliance.engines import Network, Precision, Tensors, check_tensors
from appliance.engines.cpu import cores
from appliance.errors import BadBundle, EngineFault
from appliance.pipeline.manifest import Bundle, Tensor

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
_SILENT = 4  # its own log would speak beside our one sentence
_SPIN_MICROSECONDS = 100  # by default the threads of one network spin in the way of the next: docs/benchmarks.md


class OnnxRuntime:
    """The engine; `threads` None takes every core that this process may use."""

    name = "onnxruntime"
    precision: Precision = "float32"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or cores()

    def load(self, bundle: Bundle, component: str) -> Network:
        """Load one component and hold it to the manifest. Raises `BadBundle`."""
        declared = bundle.manifest.components[component]
        try:
            session = ort.InferenceSession(
                str(bundle.path(declared.file)), self._options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes share no base but Exception
            raise BadBundle(
                f"{bundle.folder.name}: ONNX Runtime cannot load {declared.file} ({_brief(error)}): "
                "run `ensueno model verify`, then copy or export the bundle again."
            ) from None
        where = f"{bundle.folder.name}: the %s of {component}"
        check_tensors(where % "inputs", declared.inputs, _tensors(session.get_inputs(), bundle))
        check_tensors(where % "outputs", declared.outputs, _tensors(session.get_outputs(), bundle))
        return _Network(session, component)

    def _options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_MICROSECONDS))
        return options


class _Network:
    def __init__(self, session: ort.InferenceSession, component: str) -> None:
        self._session: ort.InferenceSession | None = session
        self._component = component
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Outputs by tensor name. Raises `EngineFault` with ONNX Runtime's reason."""
        if self._session is None:
            raise EngineFault(f"{self._component} was closed: load the bundle again.")
        try:
            outputs = self._session.run(self._outputs, dict(feeds))
        except Exception as error:  # its classes share no base but Exception
            raise EngineFault(f"ONNX Runtime could not run {self._component} ({_brief(error)}).") from None
        return dict(zip(self._outputs, outputs, strict=True))

    def close(self) -> None:
        self._session = None


def _tensors(nodes: Sequence[ort.NodeArg], bundle: Bundle) -> list[Tensor]:
    """What the session says of its tensors, in the manifest's words."""
    try:
        return [
            Tensor.model_validate(
                {
                    "name": node.name,
                    "dtype": _DTYPES.get(node.type, node.type),
                    "shape": [size if isinstance(size, int) else str(size) for size in node.shape],
                }
            )
            for node in nodes
        ]
    except ValidationError:
        strange = ", ".join(f"{node.name} {node.type}" for node in nodes if node.type not in _DTYPES)
        raise BadBundle(
            f"{bundle.folder.name}: the tensor {strange} is of no dtype that a bundle may have: export it again."
        ) from None


def _brief(error: Exception) -> str:
    """The first line of ONNX Runtime's message, without its code numbers, at most 200 characters."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line.rpartition("[ONNXRuntimeError] : ")[2][:200].rstrip(" .:")
