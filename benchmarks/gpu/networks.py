"""The networks at their published size, random weights, float16. The numbers are those of the models' config.json:
stable-diffusion-v1-5 (unet, vae) and stable-diffusion-xl-base-1.0 (unet)."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

_DOWN, _UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"


def sd15_unet(where: torch.device) -> Any:
    """0.86 billion parameters."""
    return _made(where, UNet2DConditionModel, sample_size=64, cross_attention_dim=768, attention_head_dim=8)


def sdxl_unet(where: torch.device) -> Any:
    """2.57 billion parameters."""
    return _made(
        where,
        UNet2DConditionModel,
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", _DOWN, _DOWN),
        up_block_types=(_UP, _UP, "UpBlock2D"),
        transformer_layers_per_block=[1, 2, 10],
        attention_head_dim=[5, 10, 20],
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def sd15_vae(where: torch.device) -> Any:
    """The decoder has 49 million parameters."""
    block = 4
    return _made(
        where,
        AutoencoderKL,
        sample_size=512,
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * block,
        up_block_types=("UpDecoderBlock2D",) * block,
        layers_per_block=2,
    )


def _made(where: torch.device, kind: Any, **config: Any) -> Any:
    """Made where it will run and in its precision: on a CPU the first random weights alone would take a minute."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device(where):
            return kind(**config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(usual)


def parameters(network: Any) -> int:
    """How many it has."""
    return sum(parameter.numel() for parameter in network.parameters())
