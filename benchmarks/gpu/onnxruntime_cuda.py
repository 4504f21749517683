"""ONNX Runtime's CUDA provider: does it run here, and does it give what the CPU gives?"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from benchmarks.gpu import small_onnx
from benchmarks.gpu.telling import NotHere, Tell

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def check(tell: Tell) -> None:
    """The small network on both."""
    tell(version=ort.__version__, providers=ort.get_available_providers())
    if _CUDA not in ort.get_available_providers():
        raise NotHere("this ONNX Runtime has no CUDA provider (the wheel of onnxruntime-gpu 1.31.1 is 256 MB)")
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    made, feeds = small_onnx.model(), {"sample": small_onnx.sample()}
    on_cuda = ort.InferenceSession(made, providers=[_CUDA])
    on_cpu = ort.InferenceSession(made, providers=[_CPU])
    tell(runs_on=on_cuda.get_providers())
    one, other = on_cuda.run(None, feeds)[0], on_cpu.run(None, feeds)[0]
    apart = float(np.linalg.norm(one - other) / np.linalg.norm(other))
    tell(against_cpu_relative_l2=apart)
    if on_cuda.get_providers()[0] != _CUDA or not apart < 1e-2:
        raise AssertionError("the CUDA provider did not give what the CPU gives")
