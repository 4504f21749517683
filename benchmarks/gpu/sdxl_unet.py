"""Stable Diffusion XL's UNet: one picture of 1024 x 1024 with guidance, so two rows of 128 x 128 latents."""

from __future__ import annotations

import torch

from benchmarks.gpu.calls import measure
from benchmarks.gpu.networks import parameters, sdxl_unet
from benchmarks.gpu.telling import Tell
from benchmarks.gpu.torch_timing import device, normal


@torch.inference_mode()
def check(tell: Tell) -> None:
    """A call, eager and as a CUDA graph."""
    where = device()
    unet = sdxl_unet(where)
    tell(parameters=parameters(unet))
    sample, embeds = normal(where, 2, 4, 128, 128), normal(where, 2, 77, 2048)
    timestep = torch.full((2,), 500.0, device=where)
    sizes = torch.tensor([[1024, 1024, 0, 0, 1024, 1024]] * 2, device=where)
    added = {"text_embeds": normal(where, 2, 1280), "time_ids": sizes}
    measure(
        tell,
        lambda: unet(sample, timestep, embeds, added_cond_kwargs=added, return_dict=False)[0],
        sample,
    )
