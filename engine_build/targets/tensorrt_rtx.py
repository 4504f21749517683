"""TensorRT for RTX: builds for RTX PCs, and with no GPU at hand, which makes it the check that runs everywhere.

It knows no Jetson (SM 8.7, Thor): a plan made here proves that NVIDIA's parser and compiler take a graph, no more.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import BadInput
from appliance.plans import gpu
from engine_build.targets import Target, library


def open_target(sm: str | None) -> Target:
    """For `sm`, or this machine's GPU. Raises `BadInput` when it builds for no such SM, `Unavailable` without it."""
    trt = library("tensorrt_rtx")
    here = gpu.gpu()
    wanted = sm or (here.sm if here else None)
    known = {_spell(name): value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")}
    if wanted is None:
        raise BadInput("No GPU is seen here, so say what to build for: --sm 86 (or 89, 120).")
    if wanted not in known:
        raise BadInput(
            f"TensorRT for RTX builds for SM {', '.join(sorted(known, key=float))}, not {wanted}: "
            "on a Jetson use --target tensorrt."
        )

    def aim(config: Any) -> None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(known[wanted], 0)

    return Target("tensorrt-rtx", trt, wanted, None, aim, keeps_timings=False)


def _spell(name: str) -> str:
    """SM86 → 8.6, SM120 → 12.0."""
    digits = name.removeprefix("SM")
    return f"{digits[:-1]}.{digits[-1]}"
