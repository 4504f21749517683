"""CUDA graphs by cuda-bindings: what a network puts on the stream is recorded once and repeated at one call.

pycuda has no such calls. Both work on the primary context, so a stream of one is a stream of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cuda.bindings import runtime as cudart

from appliance.engines.device import Graph
from appliance.errors import EngineFault


def capture(stream: int, work: Callable[[], None]) -> Graph | None:
    """The graph of what `work` puts on the stream, or None when CUDA cannot capture it. Nothing runs meanwhile."""
    handle = cudart.cudaStream_t(stream)
    mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    if _failed(cudart.cudaStreamBeginCapture(handle, mode)[0]):
        return None
    try:
        work()
    except EngineFault:
        cudart.cudaStreamEndCapture(handle)  # or the stream stays in capture
        return None
    error, graph = cudart.cudaStreamEndCapture(handle)
    if _failed(error):
        return None
    error, executable = cudart.cudaGraphInstantiate(graph, 0)
    cudart.cudaGraphDestroy(graph)
    return None if _failed(error) else _Graph(executable, handle)


class _Graph:
    def __init__(self, executable: Any, stream: Any) -> None:
        self._executable = executable
        self._stream = stream

    def launch(self) -> None:
        (error,) = cudart.cudaGraphLaunch(self._executable, self._stream)
        if _failed(error):
            raise EngineFault(f"The GPU could not repeat a network ({error.name}).")

    def close(self) -> None:
        cudart.cudaGraphExecDestroy(self._executable)


def _failed(error: Any) -> bool:
    return bool(error != cudart.cudaError_t.cudaSuccess)
