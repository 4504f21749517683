"""pycuda's context rules, which the TensorRT engine lives by: the primary context, retained; never `autoinit`.

TensorRT and torch use a device's primary context, so memory, streams and graphs made on another one are no use to them.
The controls at the end do what must not be done and tell what it gives; they are findings and cannot fail the check.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pycuda.driver as cuda
import torch

from benchmarks.gpu.graph import Graph
from benchmarks.gpu.kernel import BLOCK, NAME, PTX
from benchmarks.gpu.telling import Tell
from benchmarks.gpu.torch_timing import device

_COUNT = 1 << 20


class Shared:
    """pycuda's memory as torch may read it, without a copy."""

    def __init__(self, address: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (_COUNT,),
            "typestr": "<f4",
            "data": (address, False),
            "version": 2,
        }


def check(tell: Tell) -> None:
    """After torch has used the device: same context, memory both can read, a kernel, a graph, and all freed."""
    torch.ones(8, device=device()).sum().item()
    torch_context = _current_context()
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        _expect(tell, same_context_as_torch=_current_context() == torch_context)
        _work(tell)
        _controls(tell, context)
    finally:
        cuda.Context.pop()
        context.detach()
    _expect(tell, torch_works_afterwards=torch.ones(8, device="cuda").sum().item() == 8)


def _work(tell: Tell) -> None:
    """Pinned memory in, a kernel, a graph of two kernels replayed, read by torch and by a copy back."""
    before = cuda.mem_get_info()[0]
    stream = cuda.Stream()
    pinned = cuda.pagelocked_empty(_COUNT, np.float32)
    pinned[:] = np.arange(_COUNT, dtype=np.float32) % 1024
    wanted = pinned.copy()
    memory = cuda.mem_alloc(pinned.nbytes)
    cuda.memcpy_htod_async(memory, pinned, stream)
    add = _kernel(memory, stream)
    add()
    stream.synchronize()
    seen = torch.as_tensor(Shared(int(memory)), device="cuda").cpu().numpy()
    _expect(tell, torch_reads_pycuda_memory_after_a_kernel=bool(np.array_equal(seen, wanted + 1)))

    graph = Graph(stream.handle, lambda: (add(), add()))
    for _ in range(10):
        graph.launch()
    cuda.memcpy_dtoh_async(pinned, memory, stream)
    stream.synchronize()
    _expect(tell, graph_of_two_kernels_replayed_ten_times=bool(np.array_equal(pinned, wanted + 21)))
    graph.close()
    memory.free()
    large = cuda.mem_alloc(1 << 30)
    held = cuda.mem_get_info()[0]
    large.free()
    tell(mib_free={"before": before >> 20, "holding_a_gib": held >> 20, "after": cuda.mem_get_info()[0] >> 20})


def _kernel(memory: Any, stream: Any) -> Callable[[], None]:
    function = cuda.module_from_buffer(PTX).get_function(NAME)
    grid = (-(-_COUNT // BLOCK), 1)

    def add() -> None:
        function(memory, np.float32(1), np.uint32(_COUNT), block=(BLOCK, 1, 1), grid=grid, stream=stream)

    return add


def _controls(tell: Tell, context: Any) -> None:
    """What happens without the rules."""
    memory = cuda.mem_alloc(4 * _COUNT)
    elsewhere = cuda.Device(0).make_context()  # what `pycuda.autoinit` does
    stream_elsewhere = cuda.Stream()
    cuda.Context.pop()
    tell(a_stream_of_another_context=_outcome(_kernel(memory, stream_elsewhere)))
    elsewhere.push()
    del stream_elsewhere
    cuda.Context.pop()
    elsewhere.detach()

    def pushed() -> None:
        context.push()
        try:
            cuda.mem_alloc(16).free()
        finally:
            cuda.Context.pop()

    tell(a_thread_without_push=_in_a_thread(lambda: cuda.mem_alloc(16).free()), a_thread_with_push=_in_a_thread(pushed))
    memory.free()


def _in_a_thread(work: Callable[[], object]) -> str:
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(_outcome(work)))
    thread.start()
    thread.join()
    return said[0]


def _outcome(work: Callable[[], object]) -> str:
    try:
        work()
    except Exception as error:  # whatever it is, it is what we ask for
        return f"{type(error).__name__}: {error}"
    return "works"


def _current_context() -> int | None:
    context = ctypes.c_void_p()
    ctypes.CDLL("libcuda.so.1").cuCtxGetCurrent(ctypes.byref(context))
    return context.value


def _expect(tell: Tell, **finding: bool) -> None:
    tell(**finding)
    for name, right in finding.items():
        if not right:
            raise AssertionError(f"{name.replace('_', ' ')}: no")
