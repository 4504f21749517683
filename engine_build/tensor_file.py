"""Safetensors files, looked at from outside: where each tensor lies, and whether the header can be trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from appliance.errors import BadInput

MAX_HEADER = 16 * 1024 * 1024
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """`offset` and `length` are bytes from the start of the file, as ONNX external data wants them."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Name → place of every tensor. Raises `BadInput` before any tensor is read if the header lies."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header, start = _header(file, size, path)
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            tensors[name] = _tensor(name, entry, start, path)
    _check_cover(tensors, start, size, path)
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """What the file says of itself, text by name."""
    with path.open("rb") as file:
        header, _ = _header(file, path.stat().st_size, path)
    found = header.get("__metadata__")
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _header(file: BinaryIO, size: int, path: Path) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise _bad(path, "its header runs past the end of the file")
    if length > MAX_HEADER:
        raise _bad(path, f"its header of {length} bytes is over the limit of {MAX_HEADER}")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        raise _bad(path, "its header is not json") from None
    if not isinstance(header, dict):
        raise _bad(path, "its header is not a json object")
    return header, 8 + length


def _tensor(name: str, entry: Any, start: int, path: Path) -> StoredTensor:
    if not isinstance(entry, Mapping):
        raise _bad(path, f"the entry of {name[:80]} is not an object")
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if dtype not in ITEM_BYTES or not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
        raise _bad(path, f"the entry of {name[:80]} has no valid dtype, shape and offsets")
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise _bad(path, f"the offsets of {name[:80]} do not fit its shape")
    return StoredTensor(name, dtype, tuple(shape), start + begin, end - begin)


def _counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_cover(tensors: dict[str, StoredTensor], start: int, size: int, path: Path) -> None:
    """The tensors must follow one another without gap or overlap up to the end of the file."""
    position = start
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.offset, tensor.length)):
        if tensor.offset != position:
            raise _bad(path, f"the offsets of {tensor.name[:80]} overlap another tensor or leave a gap")
        position += tensor.length
    if position != size:
        raise _bad(path, "its offsets do not end where the file ends")


def _bad(path: Path, what: str) -> BadInput:
    where = f"{path.parent.name}/{path.name}"
    return BadInput(f"{where} is not a sound safetensors file ({what}): download or save it again.")
