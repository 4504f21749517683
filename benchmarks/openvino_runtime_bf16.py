"""OpenVINO in bfloat16: faster where the CPU multiplies in it, and not the same numbers. Shown, but no peer in precision."""

from __future__ import annotations

from appliance.pipeline.manifest import Bundle
from benchmarks.openvino_runtime import OpenVino


def load(bundle: Bundle, threads: int) -> OpenVino:
    """The same networks with rounded arithmetic."""
    return OpenVino(bundle, threads, "bf16")
