"""Stable Diffusion 1.5's decoder: latents of 64 x 64 become one picture of 512 x 512."""

from __future__ import annotations

import torch

from benchmarks.gpu.calls import measure
from benchmarks.gpu.networks import parameters, sd15_vae
from benchmarks.gpu.telling import Tell
from benchmarks.gpu.torch_timing import device, normal


@torch.inference_mode()
def check(tell: Tell) -> None:
    """A call, eager and as a CUDA graph."""
    where = device()
    vae = sd15_vae(where)
    tell(parameters=parameters(vae.decoder))
    sample = normal(where, 1, 4, 64, 64)
    measure(tell, lambda: vae.decode(sample, return_dict=False)[0], sample)
