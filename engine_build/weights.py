"""Weights stored once: one safetensors file that diffusers loads and that the ONNX graph points into.

An initializer is external data of the safetensors file: `offset` = 8 + header + the tensor's start. Where the
graph computes in another type than the stored one, it passes a Cast, which an engine folds when it loads. Where the
exporter folded a transpose or a reshape into an unnamed constant, the constant is found again by its content: a
reshape is the same bytes under other dimensions, a transpose becomes a Transpose node over the stored layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from appliance.errors import BadInput
from engine_build.tensor_file import StoredTensor, read_header

Array = NDArray[Any]
Storage = Literal["float16", "float32"]
MIN_MATCHED = 16  # numbers; smaller constants stay inline


@dataclass(frozen=True, slots=True)
class Link:
    """How an initializer of the graph is made from the tensor `name` of the file.

    `shape` is that of the stored bytes as the graph reads them, `perm` the transpose that follows, if any.
    """

    name: str
    shape: tuple[int, ...]
    perm: tuple[int, ...] | None = None


def save(state: Mapping[str, Array], path: Path, storage: Storage) -> dict[str, StoredTensor]:
    """Write float32 tensors as `storage` (integers as they are); → where each one lies."""
    from safetensors.numpy import save_file

    converted = {}
    for name in sorted(state):
        tensor = state[name]
        floating = np.issubdtype(tensor.dtype, np.floating)
        with np.errstate(over="ignore"):
            stored = tensor.astype(storage) if floating else tensor
        if floating and not np.isfinite(stored).all():
            raise BadInput(
                f"{path.stem}: {name} holds numbers that {storage} cannot: use --weights float32, or check "
                "that training did not diverge."
            )
        converted[name] = np.ascontiguousarray(stored)
    save_file(converted, path, metadata={"format": "pt"})
    path.chmod(0o644)  # it writes 0600, which the box's own user could not read
    return read_header(path)


class Matcher:
    """Finds for an initializer the stored tensor it came from, by name or else by content."""

    def __init__(self, state: Mapping[str, Array]) -> None:
        self._state = state
        self._by_size: dict[int, list[str]] = {}
        for name, tensor in state.items():
            self._by_size.setdefault(tensor.size, []).append(name)
        self._digests: dict[str, bytes] = {}

    def find(self, name: str, value: Array) -> Link | None:
        """`name` is the initializer's, without the wrapper's prefix; None: keep it inline."""
        stored = self._state.get(name)
        if stored is not None and stored.shape == value.shape and np.array_equal(stored, value):
            return Link(name, value.shape)
        if not np.issubdtype(value.dtype, np.floating) or value.size < MIN_MATCHED:
            return None
        if not np.ptp(value):  # all zeros or ones: chance, not kinship
            return None
        for perm, layout in _layouts(value):
            digest = _digest(layout)
            for candidate in self._by_size.get(value.size, ()):
                if self._state[candidate].dtype == value.dtype and self._digest_of(candidate) == digest:
                    return Link(candidate, layout.shape, perm)
        return None

    def _digest_of(self, name: str) -> bytes:
        if name not in self._digests:
            self._digests[name] = _digest(self._state[name])
        return self._digests[name]


def _layouts(value: Array) -> Iterator[tuple[tuple[int, ...] | None, Array]]:
    """The value as it is, then every way in which it may be a transposed tensor.

    Yields (perm, layout) with value = layout.transpose(perm).
    """
    yield None, value
    if 2 <= value.ndim <= 4:
        for order in permutations(range(value.ndim)):
            if order != tuple(range(value.ndim)):
                yield tuple(int(axis) for axis in np.argsort(order)), value.transpose(order)


def _digest(tensor: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(tensor).tobytes(), digest_size=16).digest()


def link(model: Any, stored: Mapping[str, StoredTensor], state: Mapping[str, Array], file: str) -> set[str]:
    """Point the initializers of an `onnx_ir` model into `file`, in place; → the stored tensors it uses."""
    matcher = Matcher(state)
    used: dict[tuple[Any, ...], Any] = {}
    for name, value in list(model.graph.initializers.items()):
        found = matcher.find(name.removeprefix("model."), value.const_value.numpy())
        if found is not None:
            del model.graph.initializers[name]
            value.const_value = None
            _replace(model.graph, value, found, stored[found.name], file, used)
    return {name for name, *_ in used}


def _replace(
    graph: Any,
    value: Any,
    found: Link,
    tensor: StoredTensor,
    file: str,
    used: dict[tuple[Any, ...], Any],
) -> None:
    """Put initializer [→ Cast] [→ Transpose] in the place of `value`; views of one tensor share a Cast."""
    import onnx_ir as ir

    key = (found.name, found.shape, value.dtype)
    if key not in used:
        views = sum(name == found.name for name, *_ in used)
        name = f"{found.name}:{views}" if views else found.name
        used[key] = _stored_value(graph, name, found, tensor, file, value.dtype)
    source = used[key]
    if found.perm is not None:
        perm = ir.AttrInt64s("perm", list(found.perm))
        transposed = ir.Node("", "Transpose", [source], [perm], name=f"transpose:{value.name}")
        transposed.outputs[0].name = f"{value.name}:transposed"
        if source.producer() is None:
            _first(graph, transposed)
        else:
            graph.insert_after(source.producer(), transposed)
        source = transposed.outputs[0]
    ir.convenience.replace_all_uses_with(value, source)


def _stored_value(graph: Any, name: str, found: Link, tensor: StoredTensor, file: str, wanted: Any) -> Any:
    """The external initializer, as the type `wanted`."""
    import onnx_ir as ir

    dtype = {"F16": ir.DataType.FLOAT16, "F32": ir.DataType.FLOAT, "I64": ir.DataType.INT64}[tensor.dtype]
    shape = ir.Shape(found.shape)
    outside = ir.ExternalTensor(file, tensor.offset, tensor.length, dtype, shape=shape, name=name)
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype), const_value=outside)
    graph.register_initializer(value)
    if dtype == wanted:
        return value
    cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(wanted))], name=f"cast:{name}")
    cast.outputs[0].name = f"{name}:cast"
    _first(graph, cast)
    return cast.outputs[0]


def _first(graph: Any, node: Any) -> None:
    graph.insert_before(graph.node(0), node)
