"""CUDA graphs straight from the driver library, as pycuda has no call for them: only a stream's handle is needed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_THREAD_LOCAL = 1  # CUstreamCaptureMode: other threads may go on as they like


class Graph:
    """What `work` put on the stream, recorded once (it does not run then). Raises `OSError` with the driver's words."""

    def __init__(self, stream: int, work: Callable[[], object]) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._stream = ctypes.c_void_p(stream)
        self._executable = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        self._asked("cuStreamBeginCapture_v2", self._stream, ctypes.c_int(_THREAD_LOCAL))
        try:
            work()
        finally:
            self._asked("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        flags = ctypes.c_ulonglong(0)
        self._asked("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, flags)
        self._asked("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Put all of it on the stream with one call."""
        self._asked("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Free what the driver keeps for it."""
        self._asked("cuGraphExecDestroy", self._executable)

    def _asked(self, name: str, *arguments: object) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(code, ctypes.byref(text))
            raise OSError(f"{name} answered {code}: {(text.value or b'?').decode()}")
