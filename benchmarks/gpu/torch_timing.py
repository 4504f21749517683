"""Times of torch on a GPU: CUDA events around the work, warmed up, the median with the lowest and the highest."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.telling import NotHere

REPEAT = 9


def device() -> torch.device:
    """The GPU that torch sees; raises `NotHere` without one."""
    if not torch.cuda.is_available():
        raise NotHere("torch sees no CUDA device")
    return torch.device("cuda")


def normal(where: torch.device, *shape: int) -> torch.Tensor:
    """Random numbers in float16."""
    return torch.randn(shape, device=where, dtype=torch.float16)


def milliseconds(work: Callable[[], object], calls: int = 1) -> dict[str, Any]:
    """Of one call: `REPEAT` runs of `calls` each, after three that warm up."""
    for _ in range(3):
        work()
    runs = []
    for _ in range(REPEAT):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        for _ in range(calls):
            work()
        end.record()
        end.synchronize()
        runs.append(start.elapsed_time(end) / calls)
    return {"ms": statistics.median(runs), "low": min(runs), "high": max(runs), "runs": REPEAT}


def captured(work: Callable[[], torch.Tensor]) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    """`work` as a CUDA graph and the tensor its replays write; its inputs are the tensors `work` read."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # as torch asks: warmed up on a stream of its own before the capture
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = work()
    return graph, out


def floating_operations(work: Callable[[], object]) -> int:
    """Of one call: products, convolutions and attention, a multiply-add as two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Relative L2, in float32."""
    return float((one.float() - other.float()).norm() / other.float().norm())
