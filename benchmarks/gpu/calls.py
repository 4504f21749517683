"""One network call on a GPU: eager, then as a CUDA graph that must give the same numbers for inputs it has not met."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.gpu.telling import Tell
from benchmarks.gpu.torch_timing import captured, difference, floating_operations, milliseconds


def measure(tell: Tell, work: Callable[[], torch.Tensor], sample: torch.Tensor) -> None:
    """`work` reads `sample`. Raises `AssertionError` when the replayed graph strays from the eager call."""
    operations = floating_operations(work)
    eager = milliseconds(work)
    tell(eager=eager, tflop=operations / 1e12, eager_tflops=operations / eager["ms"] / 1e9)
    graph, out = captured(work)
    replayed = milliseconds(graph.replay)
    tell(cuda_graph=replayed, cuda_graph_tflops=operations / replayed["ms"] / 1e9)
    sample.copy_(torch.randn_like(sample))
    graph.replay()
    apart = difference(out, work())
    finite = bool(torch.isfinite(out).all())
    memory = torch.cuda.max_memory_allocated() >> 20
    tell(graph_against_eager_relative_l2=apart, finite=finite, peak_memory_mib=memory)
    if not apart < 1e-2:
        raise AssertionError(f"the CUDA graph strays from the eager call by {apart:.1e}")
