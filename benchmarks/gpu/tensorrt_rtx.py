"""TensorRT for RTX: does its builder take this GPU, and does a plan load? (Its list: SM 7.5, 8.0, 8.6, 8.9, 12.x.)"""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.gpu import small_onnx
from benchmarks.gpu.telling import NotHere, Tell


def check(tell: Tell) -> None:
    """Build the small network for the device that is here, then deserialise it. A refusal is told in its own words."""
    try:
        trt = importlib.import_module("tensorrt_rtx")
    except ModuleNotFoundError as missing:
        raise NotHere("tensorrt_rtx is not installed (the wheels of tensorrt-rtx 1.7.1 are 96 MB)") from missing
    heard: list[str] = []
    log = _log(trt, heard)
    tell(version=trt.__version__)
    plan = _built(trt, log)
    tell(built=plan is not None, log=heard[-6:])
    if plan is None:
        return
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    tell(plan_bytes=plan.nbytes, deserialised=engine is not None, log=heard[-6:])
    if engine is not None:
        tell(context_made=engine.create_execution_context() is not None, log=heard[-6:])


def _log(trt: Any, heard: list[str]) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.WARNING:
                heard.append(message[:300])

    return Log()


def _built(trt: Any, log: Any) -> Any:
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(small_onnx.model()):
        raise AssertionError("; ".join(str(parser.get_error(index)) for index in range(parser.num_errors)))
    return builder.build_serialized_network(network, builder.create_builder_config())
