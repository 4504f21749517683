"""The texts that TensorRT is known to say when it cannot, and what helps."""

from __future__ import annotations

import re
from collections.abc import Sequence

_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"Target GPU SM (\d+) is not supported",
        "this TensorRT was made for other GPUs: install the one of your JetPack (on Orin not the SBSA package)",
    ),
    (
        r"Plugin not found|checkFallbackPluginImporter|getPluginCreator could not find",
        "the graph holds operators that are no ONNX standard, as ONNX Runtime's optimiser writes them: "
        "export the bundle again with `python -m engine_build export`",
    ),
    (
        r"composite_op->is_decomposable|Attention operation was not supported",
        "it has no kernel for the Attention of opset 23 in this precision: export with opset 18",
    ),
    (r"Int64 binding", "it takes no int64 ids: export the bundle again (int32)"),
    (
        r"HW-specific datatypes: fp8|fp8.*(not supported|requires)",
        "FP8 needs an Ada GPU (SM 8.9) or newer: on Orin and Ampere quantize to int8",
    ),
    (r"no optimization profile has been defined", "its profile is missing: report this, with the bundle's manifest"),
    (r"WeightsContext.*Failed to open file", "the weights beside the ONNX file are missing: copy the bundle again"),
    (
        r"cudaError 35|driver version is insufficient",
        "the NVIDIA driver is missing or too old: install the one of this CUDA, or name --sm with tensorrt-rtx",
    ),
    (
        r"out of memory|OutOfMemory|cudaError 2\b|std::bad_alloc|Could not allocate|Insufficient memory",
        "memory ran out: stop other programs (the engine first), add swap, or give the bundle smaller sizes or batches",
    ),
    (r"Unsupported ONNX (opset|version)|ir_version", "this TensorRT reads only older ONNX: export with opset 18"),
    (r"No importer registered for op|Unsupported.*operator", "it lacks an operator of the graph: export with opset 18"),
    (r"libnvinfer_lean", "the lean runtime is not installed: build without version compatibility"),
    (r"Failed to parse|ModelProto|protobuf", "the ONNX file is damaged: copy or export the bundle again"),
)


def of_build(component: str, said: Sequence[str]) -> str:
    """One sentence for a network that could not be built, from what TensorRT logged."""
    everything = "\n".join(said)
    for pattern, remedy in _KNOWN:
        found = re.search(pattern, everything, re.IGNORECASE)
        if found:
            return f"{component} cannot be built ({_line_of(everything, found.start())}): {remedy}."
    why = _brief(said[0]) if said else "it gave no reason"
    return f"{component} cannot be built ({why}): verify the bundle, and report this with what TensorRT said above."


def _line_of(text: str, place: int) -> str:
    start = text.rfind("\n", 0, place) + 1
    return _brief(text[start:].split("\n", 1)[0])


def _brief(line: str) -> str:
    """Without the place in TensorRT's source, at most 200 characters."""
    line = " ".join(line.split())
    return re.sub(r"^\[?[\w/.]+\.cpp:*[\w:~<>() ]*?\d+\]?:?\s*", "", line)[:200].rstrip(" .:")
