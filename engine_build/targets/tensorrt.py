"""TensorRT as a Jetson or a PC has it installed: builds for the GPU it runs on, and for no other."""

from __future__ import annotations

from appliance.errors import BadInput, Unavailable
from appliance.plans import gpu
from engine_build.targets import Target, library


def open_target(sm: str | None) -> Target:
    """Raises `Unavailable` where TensorRT or the GPU is missing, `BadInput` when `sm` is another GPU's."""
    trt = library("tensorrt")
    here = gpu.gpu()
    if here is None:
        raise Unavailable(
            "TensorRT builds on the GPU that will run the plans, and none is seen here: run this on the device "
            "(or check the graphs anywhere with --target tensorrt-rtx --sm 86)."
        )
    if sm is not None and sm != here.sm:
        raise BadInput(f"TensorRT builds for the GPU it runs on, {here.name} (SM {here.sm}): leave --sm out.")
    return Target("tensorrt", trt, here.sm, here.name, lambda config: None, keeps_timings=True)
