"""A training step recorded once as a CUDA graph and replayed: small networks wait for Python, not for the card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

_WARM = 3  # runs before the recording, in which the libraries choose their kernels


class Loss(Protocol):
    """Tensors of a batch to a scalar, on the device alone: nothing is read back, every batch has the same shapes."""

    def __call__(self, *batch: Tensor) -> Tensor: ...


class Recorded:
    """Forward and backward of ``loss``. Each call leaves fresh gradients in ``module``, in the same memory."""

    def __init__(self, module: nn.Module, loss: Loss, batch: Sequence[Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in batch]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                module.zero_grad(set_to_none=True)
                loss(*self._inputs).backward()  # type: ignore[no-untyped-call]
        torch.cuda.current_stream().wait_stream(side)
        module.zero_grad(set_to_none=True)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = loss(*self._inputs)
            self._loss.backward()  # type: ignore[no-untyped-call]

    def __call__(self, *batch: Tensor) -> Tensor:
        """The loss of this batch, valid until the next call."""
        for kept, given in zip(self._inputs, batch, strict=True):
            kept.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._loss
