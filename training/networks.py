"""The networks of a run, in the very classes that the large models use, made from its settings."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from training.run import Run


def autoencoder(run: Run, scaling_factor: float = 1.0) -> Any:
    """AutoencoderTiny: pictures ``[B, 3, S, S]`` in -1 … 1 to latents ``[B, C, S/8, S/8]`` and back.

    The decoder squashes what it is given by 3·tanh(x/3), so latents are trained to unit variance.
    """
    settings = run.autoencoder
    levels = len(settings.decoder_blocks)
    return AutoencoderTiny(  # type: ignore[no-untyped-call]
        latent_channels=settings.channels,
        encoder_block_out_channels=(settings.encoder_width,) * levels,
        decoder_block_out_channels=(settings.decoder_width,) * levels,
        num_encoder_blocks=settings.encoder_blocks,
        num_decoder_blocks=settings.decoder_blocks,
        scaling_factor=scaling_factor,
    )


def text_encoder(run: Run, vocabulary: int, begin: int, end: int) -> Any:
    """CLIPTextModel: ids int64 ``[B, L]`` to hidden states ``[B, L, width]`` (causal, as CLIP's is)."""
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=run.text.width,
        intermediate_size=4 * run.text.width,
        projection_dim=run.text.width,
        num_hidden_layers=run.text.layers,
        num_attention_heads=run.text.heads,
        max_position_embeddings=run.tokenizer.length,
        hidden_act="quick_gelu",
        bos_token_id=begin,
        eos_token_id=end,
        pad_token_id=end,
    )
    return CLIPTextModel(config)


def unet(run: Run) -> Any:
    """UNet2DConditionModel: latents ``[B, C, h, w]``, timestep ``[B]``, words ``[B, L, width]`` to a velocity."""
    settings = run.unet
    down = tuple("CrossAttnDownBlock2D" if looks else "DownBlock2D" for looks in settings.attention)
    up = tuple("CrossAttnUpBlock2D" if looks else "UpBlock2D" for looks in reversed(settings.attention))
    return UNet2DConditionModel(  # type: ignore[no-untyped-call]
        sample_size=run.latent_size,
        in_channels=run.autoencoder.channels,
        out_channels=run.autoencoder.channels,
        block_out_channels=settings.widths,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=settings.layers,
        cross_attention_dim=run.text.width,
        attention_head_dim=settings.heads,  # diffusers' historical name: it is the number of heads
        norm_num_groups=settings.groups,
    )


def scheduler(run: Run) -> Any:
    """Flow matching's Euler scheduler: sigma from 1 to 0, the UNet is told 1000·sigma."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=run.sample.shift)  # type: ignore[no-untyped-call]


def parameter_count(module: nn.Module) -> int:
    """Numbers in a network."""
    return sum(parameter.numel() for parameter in module.parameters())


def fastest_layout(module: nn.Module) -> nn.Module:
    """Convolution weights laid out channels-last, which CPU and CUDA kernels both prefer."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
