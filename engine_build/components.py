"""The networks of a family, each as one declaration that export, check, parity and manifest read.

To add a family: write a function Source → networks and put it in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from appliance.errors import BadInput
from appliance.pipeline.manifest import Latents, Tensor
from engine_build.source import Source
from engine_build.tokenizer import sequence_length

Array = NDArray[Any]
MAX_BATCH = 256
MAX_LATENT_SIDE = 1024


@dataclass(frozen=True, slots=True)
class Axis:
    """A dynamic dimension: `multiple` times a whole number that the graph calls `name`."""

    name: Literal["batch", "h", "w"]
    multiple: int = 1
    high: int = MAX_BATCH

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

    def sample(self, sizes: Mapping[str, int], random: np.random.Generator) -> Array:
        """Values at the sizes "batch", "h", "w" (the whole dimensions, multiples included)."""
        shape = [sizes[size.name] if isinstance(size, Axis) else size for size in self.shape]
        if self.fill == "ids":
            return random.integers(0, self.high, shape).astype(self.dtype)
        if self.fill == "timestep":
            return random.uniform(0, self.high, shape).astype(self.dtype)
        return random.standard_normal(shape).astype(self.dtype)


@dataclass(frozen=True, slots=True)
class Network:
    """One component of a bundle.

    `name` is its name in the bundle, `folder` in the diffusers folder; `wrap` makes of the loaded torch
    model a module that takes `inputs` and returns the one output as a bare tensor; `latents` are the
    (batch, h, w) at which parity is checked; `tolerance` bounds its relative L2 error.
    """

    name: str
    folder: str
    library: Literal["diffusers", "transformers"]
    class_name: str
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    wrap: Callable[[Any], Any]
    latents: tuple[tuple[int, int, int], ...]
    example: tuple[int, int, int]
    tolerance: float = 1e-5

    @property
    def file(self) -> str:
        return f"onnx/{self.name}.onnx"

    @property
    def weights(self) -> str:
        return f"onnx/{self.name}.safetensors"

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


def latents_of(source: Source) -> Latents:
    """The latents' geometry, from the VAE's config."""
    vae = source.configs["vae"]
    if source.classes["vae"] == "AutoencoderTiny":
        levels = len(vae.get("num_decoder_blocks", (3, 3, 3, 1)))
        scale = int(vae.get("upsampling_scaling_factor", 2)) ** (levels - 1)
    else:
        scale = 2 ** (len(vae.get("block_out_channels", (64,))) - 1)
    factor = vae.get("scaling_factor")
    default = 1.0 if source.classes["vae"] == "AutoencoderTiny" else 0.18215
    return Latents(
        channels=int(vae.get("latent_channels", 4)),
        scale=scale,
        scaling_factor=default if factor is None else float(factor),
        shift_factor=float(vae.get("shift_factor") or 0.0),
    )


def size_multiple(source: Source) -> int:
    """Latent height and width must be multiples of this: the UNet halves them between its levels."""
    return int(2 ** (len(source.configs["unet"].get("block_out_channels", (1, 1, 1, 1))) - 1))


def native_latents(source: Source) -> tuple[int, int]:
    """(height, width) in latents that the UNet was made for, when its config says so."""
    size = source.configs["unet"].get("sample_size") or 64
    height, width = size if isinstance(size, list) else (size, size)
    return int(height), int(width)


def stable_diffusion(source: Source) -> tuple[Network, ...]:
    """SD 1.x-like: one CLIP text encoder, a UNet with cross-attention, an autoencoder."""
    _check_unet(source)
    text, unet = source.configs["text_encoder"], source.configs["unet"]
    latents, step = latents_of(source), size_multiple(source)
    length, width = sequence_length(source), int(text["hidden_size"])
    batch = Axis("batch")
    high = MAX_LATENT_SIDE // step
    sides = (Axis("h", step, high), Axis("w", step, high))
    free = (Axis("h", 1, MAX_LATENT_SIDE), Axis("w", 1, MAX_LATENT_SIDE))
    pixels = (Axis("h", latents.scale), Axis("w", latents.scale))
    shapes = ((1, *native_latents(source)), (2, 2 * step, 3 * step), (3, 5 * step, 4 * step))
    example = (2, 4 * step, 6 * step)
    ids = TensorSpec("input_ids", "int32", (batch, length), "ids", int(text["vocab_size"]))
    channels = int(unet["in_channels"])
    sample = TensorSpec("sample", "float32", (batch, channels, *sides))
    timestep = TensorSpec("timestep", "float32", (batch,), "timestep")
    states = TensorSpec("encoder_hidden_states", "float32", (batch, length, width))
    return (
        Network(
            "text_encoder", "text_encoder", "transformers", source.classes["text_encoder"], (ids,),
            TensorSpec("prompt_embeds", "float32", (batch, length, width)),
            text_encoder, shapes, example,
        ),
        Network(
            "unet", "unet", "diffusers", source.classes["unet"], (sample, timestep, states),
            TensorSpec("noise_pred", "float32", (batch, channels, *sides)),
            unet_step, shapes, example,
        ),
        Network(
            "vae_decoder", "vae", "diffusers", source.classes["vae"],
            (TensorSpec("latents", "float32", (batch, latents.channels, *free)),),
            TensorSpec("image", "float32", (batch, 3, *pixels)),
            vae_decoder, shapes, example,
            # Its many convolutions over large pictures add up in another order in each engine.
            tolerance=1e-5 if source.classes["vae"] == "AutoencoderTiny" else 5e-5,
        ),
    )  # fmt: skip


FAMILIES: dict[str, Callable[[Source], tuple[Network, ...]]] = {"sd": stable_diffusion}


def declared(family: str, source: Source) -> tuple[Network, ...]:
    """The family's networks with this folder's dimensions. Raises `BadInput` where a config makes no sense."""
    try:
        return FAMILIES[family](source)
    except (TypeError, ValueError, ArithmeticError):
        raise BadInput(f"A config.json in {source.folder.name} holds values of a wrong kind: save it again.") from None


def text_encoder(model: Any) -> Any:
    """input_ids int32 (batch, L) → prompt_embeds float32 (batch, L, d)."""
    import torch

    class TextEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any) -> Any:
            return self.model(input_ids, return_dict=False)[0]

    return TextEncoder()


def unet_step(model: Any) -> Any:
    """sample (batch, C, h, w), timestep (batch,), encoder_hidden_states (batch, L, d) → noise_pred."""
    import torch

    class UNetStep(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, sample: Any, timestep: Any, encoder_hidden_states: Any) -> Any:
            return self.model(sample, timestep, encoder_hidden_states, return_dict=False)[0]

    return UNetStep()


def vae_decoder(model: Any) -> Any:
    """latents (batch, C, h, w), already divided by scaling_factor → image (batch, 3, H, W) in [-1, 1]."""
    import torch

    class VaeDecoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, latents: Any) -> Any:
            return self.model.decode(latents, return_dict=False)[0]

    return VaeDecoder()


def _check_unet(source: Source) -> None:
    """Refuse UNets that need inputs which this family does not have."""
    unet, text, vae = (source.configs[name] for name in ("unet", "text_encoder", "vae"))
    for key in ("in_channels", "cross_attention_dim", "block_out_channels"):
        if key not in unet:
            raise BadInput(f"unet/config.json has no {key}: save the UNet with save_pretrained.")
    for key in ("hidden_size", "vocab_size"):
        if type(text.get(key)) is not int:
            raise BadInput(f"text_encoder/config.json has no {key}: save it with save_pretrained.")
    extra = ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim",
             "num_class_embeds")  # fmt: skip
    for key in extra:
        if unet.get(key) is not None:
            raise BadInput(f"The UNet needs {key}, which this version cannot export: use a plain SD 1.x UNet.")
    channels = vae.get("latent_channels", 4)
    if not unet["in_channels"] == unet.get("out_channels", 4) == channels:
        raise BadInput(
            f"The UNet takes {unet['in_channels']} channels and the VAE has {channels}: "
            "only text-to-image UNets, where the two agree, can be exported."
        )
    if unet["cross_attention_dim"] != text["hidden_size"]:
        raise BadInput(
            f"The UNet attends to vectors of {unet['cross_attention_dim']} numbers and the text encoder gives "
            f"{text['hidden_size']}: put together networks that were trained together."
        )
