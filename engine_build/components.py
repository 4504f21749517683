"""What a declaration of a network is made of; export, profile, build, check, parity and manifest read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from appliance.pipeline.manifest import Tensor

Array = NDArray[Any]
MAX_BATCH = 63  # from 64 on diffusers goes another way (`Upsample2D`), which the exporter would have to exclude first
MAX_LATENT_SIDE = 1024


@dataclass(frozen=True, slots=True)
class Axis:
    """A dynamic dimension: `multiple` times a whole number that the graph calls `name`, which is at most `high`.

    `pixels` is how many of it lie on one latent: 1, or the VAE's scale for a picture's sides.
    """

    name: Literal["batch", "h", "w"]
    multiple: int = 1
    high: int = MAX_BATCH
    pixels: int = 1

    def __str__(self) -> str:
        return self.name if self.multiple == 1 else f"{self.multiple}*{self.name}"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An I/O tensor. `fill` says what sample values look like; ids are drawn below `high`."""

    name: str
    dtype: Literal["float32", "int32"]
    shape: tuple[int | Axis, ...]
    fill: Literal["normal", "ids", "timestep"] = "normal"
    high: int = 1000

    def in_manifest(self) -> Tensor:
        shape = [str(size) if isinstance(size, Axis) else size for size in self.shape]
        return Tensor(name=self.name, dtype=self.dtype, shape=shape)

    def at(self, sizes: Mapping[str, int]) -> list[int]:
        """The shape at the sizes "batch", "h", "w" (of the latents, the whole dimensions, multiples included)."""
        return [sizes[size.name] * size.pixels if isinstance(size, Axis) else size for size in self.shape]

    def sample(self, sizes: Mapping[str, int], random: np.random.Generator) -> Array:
        """Values at these sizes."""
        shape = self.at(sizes)
        if self.fill == "ids":
            return random.integers(0, self.high, shape).astype(self.dtype)
        if self.fill == "timestep":
            return random.uniform(0, self.high, shape).astype(self.dtype)
        return random.standard_normal(shape).astype(self.dtype)


@dataclass(frozen=True, slots=True)
class Network:
    """One component of a bundle.

    `name` is its name in the bundle, `folder` in the diffusers folder; `wrap` makes of the loaded torch
    model a module that takes `inputs` and returns `outputs` as bare tensors; `latents` are the
    (batch, h, w) at which parity is checked; `tolerance` bounds its relative L2 error. Networks of one `folder` share
    its weights file, which has the name of `stored_as`. `float32_for` says why it must not compute in float16, if so.
    """

    name: str
    folder: str
    library: Literal["diffusers", "transformers", "stable_diffusion"]
    class_name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    wrap: Callable[[Any], Any]
    latents: tuple[tuple[int, int, int], ...]
    example: tuple[int, int, int]
    tolerance: float = 1e-5
    stored_as: str | None = None
    float32_for: str | None = None

    @property
    def file(self) -> str:
        return f"onnx/{self.name}.onnx"

    @property
    def f16_file(self) -> str:
        return f"onnx/{self.name}.f16.onnx"

    @property
    def weights(self) -> str:
        return f"onnx/{self.stored_as or self.name}.safetensors"

    @property
    def axes(self) -> dict[str, Axis]:
        """The dynamic axes by name, from the inputs."""
        dims = [size for tensor in self.inputs for size in tensor.shape]
        return {size.name: size for size in dims if isinstance(size, Axis)}

    def feeds(self, latents: tuple[int, int, int], seed: int = 0) -> dict[str, Array]:
        """Sample inputs for `latents` = (batch, h, w), the same for the same seed."""
        random = np.random.default_rng([seed, *latents])
        sizes = dict(zip(("batch", "h", "w"), latents, strict=True))
        return {tensor.name: tensor.sample(sizes, random) for tensor in self.inputs}
