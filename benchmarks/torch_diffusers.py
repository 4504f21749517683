"""diffusers: the bundle's diffusers folder in its own classes, torch eager, its own FlowMatchEuler scheduler.

StableDiffusionPipeline itself cannot be called with this scheduler (it asks for `scale_model_input`, which flow
matching has not), so its loop is written out: the same calls in the same order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import AutoTokenizer, CLIPTextModel

from appliance.pipeline.manifest import Bundle
from benchmarks.player import Array, Wish
from engine_build.source_folder import as_diffusers


class Diffusers:
    """Weights in float32, as everyone computes; eager is what `from_pretrained` gives."""

    def __init__(self, source: Path, max_length: int, compiled: bool) -> None:
        """`source` is the diffusers folder; prompts are cut to `max_length` tokens."""
        weights: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
        self._tokenizer: Any = AutoTokenizer.from_pretrained(source / "tokenizer", local_files_only=True)
        self._text_encoder: Any = CLIPTextModel.from_pretrained(source / "text_encoder", dtype=torch.float32, **weights)
        self._unet = _loaded(UNet2DConditionModel, source / "unet", torch_dtype=torch.float32, **weights)
        self._vae = _loaded(AutoencoderTiny, source / "vae", torch_dtype=torch.float32, **weights)
        self._scheduler = _loaded(FlowMatchEulerDiscreteScheduler, source / "scheduler")
        self._length = max_length
        for network in (self._text_encoder, self._unet, self._vae):
            network.eval()
        if compiled:
            self._unet.compile()
            self._vae.decoder.compile()

    @torch.inference_mode()
    def unet(self, sample: Array, timestep: Array, embeds: Array) -> Array:
        """One call, the rows of one picture."""
        rows = [torch.from_numpy(array) for array in (sample, timestep, embeds)]
        noise_pred: Array = self._unet(*rows, return_dict=False)[0].numpy()
        return noise_pred

    @torch.inference_mode()
    def picture(self, wish: Wish) -> tuple[Array, NDArray[np.uint8]]:
        """Encode both texts, denoise with guidance, decode."""
        words = self._tokenizer(
            ["", wish.read], padding="max_length", max_length=self._length, truncation=True, return_tensors="pt"
        )
        embeds = self._text_encoder(words.input_ids, return_dict=False)[0]
        latents = torch.from_numpy(wish.noise[None])
        self._scheduler.set_timesteps(wish.steps)
        for timestep in self._scheduler.timesteps:
            rows = torch.cat([latents, latents])
            noise_pred = self._unet(rows, timestep, embeds, return_dict=False)[0]
            uncond, text = noise_pred.chunk(2)
            guided = uncond + wish.guidance * (text - uncond)
            latents = self._scheduler.step(guided, timestep, latents, return_dict=False)[0]
        image = self._vae.decode(latents / self._vae.config.scaling_factor, return_dict=False)[0]
        pixels = ((image[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0) * 255).round().to(torch.uint8)
        return latents[0].numpy(), pixels.numpy()


def _loaded(kind: Any, folder: Path, **options: Any) -> Any:
    return kind.from_pretrained(folder, **options)


def load(bundle: Bundle, threads: int, compiled: bool = False) -> Diffusers:
    """Read the diffusers folder."""
    torch.set_num_threads(threads)
    with as_diffusers(bundle.folder) as source:
        return Diffusers(source, bundle.manifest.tokenizer.max_length, compiled)
