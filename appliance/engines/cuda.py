"""A GPU by pycuda, on the primary context: the one that TensorRT and CUDA's runtime use too.

Never `pycuda.autoinit`: it makes a context of its own, in which TensorRT's memory is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

from appliance.engines.device import Buffer
from appliance.errors import EngineFault


class CudaDevice:
    """The first GPU; its context is current on the thread that makes this, and no other may use it."""

    def __init__(self) -> None:
        with _told("start the GPU"):
            cuda.init()
            self._context: Any = cuda.Device(0).retain_primary_context()
            self._context.push()
            self._stream: Any = cuda.Stream()

    @property
    def stream(self) -> int:
        return int(self._stream.handle)

    @property
    def free_bytes(self) -> int:
        free, _ = cuda.mem_get_info()
        return int(free)

    def allocate(self, size: int) -> Buffer:
        with _told(f"have {size >> 20} MiB of the GPU's memory"):
            return _Block(cuda.mem_alloc(max(1, size)), size)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        with _told("have pinned memory"):
            pinned: NDArray[Any] = cuda.pagelocked_empty(shape, dtype)
            return pinned

    def upload(self, target: Buffer, source: NDArray[Any]) -> None:
        with _told("copy to the GPU"):
            cuda.memcpy_htod_async(target.address, source, self._stream)

    def download(self, target: NDArray[Any], source: Buffer) -> None:
        with _told("copy from the GPU"):
            cuda.memcpy_dtoh_async(target, source.address, self._stream)

    def synchronize(self) -> None:
        with _told("finish what it was given"):
            self._stream.synchronize()

    def close(self) -> None:
        self._stream = None
        self._context.pop()
        self._context.detach()


class _Block:
    def __init__(self, allocation: Any, size: int) -> None:
        self._allocation = allocation
        self.address = int(allocation)
        self.size = size

    def free(self) -> None:
        with _told("give memory back"):
            self._allocation.free()


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """CUDA's errors stay: after most of them the process must be started again."""
    try:
        yield
    except cuda.Error as error:
        raise EngineFault(f"The GPU could not {doing} ({str(error).strip()}).") from None
