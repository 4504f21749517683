"""What TensorRT is given of a GPU: memory, pinned memory, one stream, and graphs where they can be captured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Buffer(Protocol):
    """A block of the GPU's memory; `address` is a multiple of 256."""

    @property
    def address(self) -> int: ...
    @property
    def size(self) -> int: ...

    def free(self) -> None:
        """Give it back; whatever runs on the stream must have ended."""
        ...


class Graph(Protocol):
    """A piece of work that the GPU repeats at one call."""

    def launch(self) -> None:
        """On the stream that it was captured from."""
        ...

    def close(self) -> None: ...


Capture = Callable[[int, Callable[[], None]], "Graph | None"]
"""(stream, work) → the graph of what `work` puts on the stream, or None when it cannot be captured."""


class Device(Protocol):
    """One GPU with one stream, used by one thread. Its methods raise `EngineFault` with CUDA's reason."""

    @property
    def stream(self) -> int:
        """The stream's handle; never the default one, which cannot be captured."""
        ...

    @property
    def free_bytes(self) -> int: ...

    def allocate(self, size: int) -> Buffer: ...

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Host memory that the GPU copies from and to at full speed; C-contiguous."""
        ...

    def upload(self, target: Buffer, source: NDArray[Any]) -> None:
        """Put a copy on the stream; `source` is pinned."""
        ...

    def download(self, target: NDArray[Any], source: Buffer) -> None:
        """Put a copy on the stream; `target` is pinned."""
        ...

    def synchronize(self) -> None:
        """Wait for all that was put on the stream."""
        ...

    def close(self) -> None: ...
