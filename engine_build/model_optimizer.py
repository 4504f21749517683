"""The step of `quantize` that NVIDIA Model Optimizer does, in an environment of its own: run as a script, not imported.

    PYTHON engine_build/model_optimizer.py GRAPH.onnx FEEDS.npz OUT.onnx

Its requirements are at odds with ours, so nothing of this project may be imported here. FEEDS holds `<call>/<tensor>`.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np


class Feeds:
    """What the network was fed while the owner's prompts were drawn, as ONNX Runtime's calibration reads it."""

    def __init__(self, path: str) -> None:
        calls: dict[str, dict[str, Any]] = {}
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                call, _, tensor = name.partition("/")
                calls.setdefault(call, {})[tensor] = arrays[name]
        self._calls = list(calls.values())
        self.rewind()

    def rewind(self) -> None:
        """Begin anew."""
        self._left = iter(self._calls)

    def get_next(self) -> dict[str, Any] | None:
        """The next call's tensors by name."""
        return next(self._left, None)

    def get_first(self) -> dict[str, Any]:
        """Those of the first call."""
        return self._calls[0]


def main(graph: str, feeds: str, out: str) -> None:
    """Write `out` with Q/DQ pairs; weights lie in a file beside it."""
    quantization: Any = importlib.import_module("modelopt.onnx.quantization")  # not in the environment of the tests
    quantization.quantize(
        graph,
        quantize_mode="int8",
        calibration_data_reader=Feeds(feeds),
        calibration_eps=["cpu"],
        op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        high_precision_dtype="fp32",
        use_external_data_format=True,
        output_path=out,
        log_level="ERROR",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
