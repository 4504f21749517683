"""The machine's own peak: a square float16 product, and a copy in its memory. Other figures are read beside these."""

from __future__ import annotations

import torch

from benchmarks.gpu.telling import Tell
from benchmarks.gpu.torch_timing import device, milliseconds, normal

SIDE = 8192


def check(tell: Tell) -> None:
    """Random numbers, since zeros run faster than anything real."""
    where = device()
    a, b = (normal(where, SIDE, SIDE) for _ in range(2))
    product = milliseconds(lambda: torch.mm(a, b), calls=5)
    tell(matmul=product, matmul_tflops=2 * SIDE**3 / product["ms"] / 1e9)
    source = torch.randn(1 << 28, device=where)
    target = torch.empty_like(source)
    copy = milliseconds(lambda: target.copy_(source), calls=3)
    tell(copy=copy, copy_gb_per_s=2 * source.nbytes / copy["ms"] / 1e6)
