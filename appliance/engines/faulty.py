"""The fault-injecting engine of `scripts/torture`: it draws noise, in a millisecond a step, and fails on order.

It proves what the box does around an engine, and nothing of any real one. An order is a file `next` in a folder, taken
by the UNet call that finds it: `crash` (segmentation fault), `hang`, `nan`, `memory` (out of memory).
"""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.engines import Network, Precision, Tensors
from appliance.errors import EngineFault
from appliance.pipeline.manifest import Bundle, Component, Shape

ORDERS = ("crash", "hang", "nan", "memory")
_OBEDIENT = "unet"


class Faulty:
    """The engine; `orders` is the folder that it takes orders from, `seconds` what each UNet call takes."""

    name = "faulty"
    precision: Precision = "float32"

    def __init__(self, orders: Path, seconds: float = 0.001) -> None:
        self._orders = orders
        self._seconds = seconds

    def load(self, bundle: Bundle, component: str) -> Network:
        """Nothing is read but the manifest."""
        declared = bundle.manifest.components[component]
        return _Obedient(declared, self._orders, self._seconds) if component == _OBEDIENT else _Noise(declared)


class _Noise:
    """Answers of the declared shapes that depend on what is fed, and on nothing else; from NaN comes NaN."""

    def __init__(self, component: Component) -> None:
        self._component = component

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        digest = 0
        for value in feeds.values():
            digest = zlib.crc32(np.ascontiguousarray(value).data, digest)
        random = np.random.default_rng(digest)
        sizes = sizes_of(self._component, feeds)
        low = -1.0 if all(np.isfinite(value).all() for value in feeds.values()) else np.nan  # as a real network
        return {
            tensor.name: (low + 2 * random.random(shape_at(tensor.shape, sizes))).astype(tensor.dtype)
            for tensor in self._component.outputs
        }

    def close(self) -> None:
        """There is nothing to give back."""


class _Obedient(_Noise):
    def __init__(self, component: Component, orders: Path, seconds: float) -> None:
        super().__init__(component)
        self._orders = orders
        self._seconds = seconds

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        time.sleep(self._seconds)
        order = take(self._orders)
        if order == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if order == "hang":
            time.sleep(3600)
        if order == "memory":
            raise EngineFault("The engine ran out of memory, as it was ordered to.")
        outputs = super().run(feeds)
        if order == "nan":
            return {name: np.full_like(value, np.nan) for name, value in outputs.items()}
        return outputs


def give(orders: Path, order: str) -> None:
    """Let the next UNet call fail so. Raises `ValueError` for an unknown order."""
    if order not in ORDERS:
        raise ValueError(order)
    draft = orders / "draft"
    draft.write_text(order, encoding="ascii")
    draft.rename(orders / "next")


def take(orders: Path) -> str | None:
    """The order that waits, which then waits no more."""
    mine = orders / f"taken-{os.getpid()}"
    try:
        (orders / "next").rename(mine)
    except OSError:
        return None
    order = mine.read_text(encoding="ascii")
    mine.unlink()
    return order


def sizes_of(component: Component, feeds: Tensors) -> dict[str, int]:
    """The dynamic dimensions by name, from what is fed: `8*h` of size 64 says that h is 8."""
    sizes = {}
    for tensor in component.inputs:
        for declared, size in zip(tensor.shape, np.shape(feeds[tensor.name]), strict=True):
            if isinstance(declared, str):
                multiple, name = _split(declared)
                sizes[name] = size // multiple
    return sizes


def shape_at(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A declared shape with its dynamic dimensions filled in."""
    filled = []
    for declared in shape:
        multiple, name = _split(declared) if isinstance(declared, str) else (declared, "")
        filled.append(multiple * sizes.get(name, 1))
    return tuple(filled)


def _split(declared: str) -> tuple[int, str]:
    multiple, star, name = declared.partition("*")
    return (int(multiple), name) if star else (1, declared)
