"""The same work through NVIDIA's cuda-bindings, on the primary context, after torch: the other way to a graph."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from cuda.bindings import driver as cu

from benchmarks.gpu.kernel import BLOCK, NAME, PTX
from benchmarks.gpu.telling import Tell
from benchmarks.gpu.torch_timing import device

_COUNT = 1 << 20


def check(tell: Tell) -> None:
    """A kernel and a graph of it on a stream that does not wait for the default one."""
    torch.ones(8, device=device()).sum().item()
    here = _asked(cu.cuCtxGetCurrent())
    context = _asked(cu.cuDevicePrimaryCtxRetain(_asked(cu.cuDeviceGet(0))))
    tell(same_context_as_torch=int(here) == int(context))
    _asked(cu.cuCtxSetCurrent(context))
    stream = _asked(cu.cuStreamCreate(cu.CUstream_flags.CU_STREAM_NON_BLOCKING))
    memory = _asked(cu.cuMemAlloc(4 * _COUNT))
    _asked(cu.cuMemsetD32Async(memory, 0, _COUNT, stream))
    function = _asked(cu.cuModuleGetFunction(_asked(cu.cuModuleLoadData(PTX)), NAME.encode()))
    # As a number: for a CUdeviceptr beside c_void_p the bindings would pass where that Python object keeps it.
    arguments = ((int(memory), 1.0, _COUNT), (ctypes.c_void_p, ctypes.c_float, ctypes.c_uint))
    grid = -(-_COUNT // BLOCK)

    _asked(cu.cuStreamBeginCapture(stream, cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
    _asked(cu.cuLaunchKernel(function, grid, 1, 1, BLOCK, 1, 1, 0, stream, arguments, 0))
    graph = _asked(cu.cuGraphInstantiate(_asked(cu.cuStreamEndCapture(stream)), 0))
    for _ in range(10):
        _asked(cu.cuGraphLaunch(graph, stream))
    _asked(cu.cuStreamSynchronize(stream))
    seen = np.empty(_COUNT, dtype=np.float32)
    _asked(cu.cuMemcpyDtoH(seen.ctypes.data, memory, seen.nbytes))
    tell(graph_replayed_ten_times=bool((seen == 10).all()))
    _asked(cu.cuMemFree(memory))
    if not (seen == 10).all():
        raise AssertionError(f"ten launches of the graph gave {seen[0]}, not 10")


def _asked(answer: Any) -> Any:
    """cuda-bindings answers (error, value …)."""
    error, *values = answer
    if error != cu.CUresult.CUDA_SUCCESS:
        raise OSError(f"the driver answered {error!r}")
    return values[0] if values else None
