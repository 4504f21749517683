"""Stable Diffusion 1.5's UNet: one picture of 512 x 512 with guidance, so two rows of 64 x 64 latents."""

from __future__ import annotations

import torch

from benchmarks.gpu.calls import measure
from benchmarks.gpu.networks import parameters, sd15_unet
from benchmarks.gpu.telling import Tell
from benchmarks.gpu.torch_timing import device, normal


@torch.inference_mode()
def check(tell: Tell) -> None:
    """A call, eager and as a CUDA graph."""
    where = device()
    unet = sd15_unet(where)
    tell(parameters=parameters(unet))
    sample, embeds = normal(where, 2, 4, 64, 64), normal(where, 2, 77, 768)
    timestep = torch.full((2,), 500.0, device=where)
    measure(tell, lambda: unet(sample, timestep, embeds, return_dict=False)[0], sample)
