"""The diffusion stage: text encoder and UNet learn the velocity of a flow from pictures to noise.

Flow matching (Lipman et al. 2023, arXiv:2210.02747) on straight paths (rectified flow, Liu et al. 2022,
arXiv:2209.03003): x_sigma = (1 - sigma)·latents + sigma·noise, and the network is taught noise - latents. Sigma is
logit-normal (Esser et al. 2024, arXiv:2403.03206), its mean well above zero: among a thousand pictures a noisy one can
be told from the others up to sigma 0.9 without a word, so only nearer to pure noise is the sentence learned at all.
The UNet is told 1000·sigma, as diffusers' FlowMatchEulerDiscreteScheduler does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from training import autoencoder, checkpoint, loop, networks, tokenizer
from training.corpus import captions, told
from training.corpus.data import Dataset
from training.corpus.library import Pixels
from training.run import Run

Load = Callable[[Run, Any, Path], tuple[nn.ModuleDict, int]]  # a run's networks, and the steps they were trained


def make_module(run: Run, words: Any) -> nn.ModuleDict:
    """Text encoder and UNet, fresh from the run's seed."""
    torch.manual_seed(run.seed)
    text = networks.text_encoder(run, len(words), words.bos_token_id, words.eos_token_id)
    module = nn.ModuleDict({"text_encoder": text, "unet": networks.unet(run)})
    networks.fastest_layout(module["unet"])
    return module


def trained(run: Run, words: Any, folder: Path) -> tuple[nn.ModuleDict, int]:
    """Text encoder and UNet with their averaged weights, and the steps they were trained."""
    module = make_module(run, words)
    progress, weights = checkpoint.load_average(folder / "diffusion.safetensors")
    module.load_state_dict(weights)
    return module, progress.step


def make_tokenizer(run: Run, dataset: Dataset, folder: Path) -> Any:
    """The run's tokenizer, learned from its captions the first time."""
    return tokenizer.learn_or_load(
        folder / "tokenizer", lambda: captions.corpus(dataset.scenes, run, dataset.library), run.tokenizer
    )


def velocity(module: nn.ModuleDict, latents: Tensor, sigma: Tensor, ids: Tensor) -> Tensor:
    """The predicted velocity ``[B, C, h, w]`` float32 at ``sigma`` ``[B]`` for token ids ``[B, L]``."""
    with torch.autocast(latents.device.type, torch.bfloat16):
        hidden = module["text_encoder"](ids).last_hidden_state
    return predict(module["unet"], latents, sigma, hidden)


def predict(unet: Any, latents: Tensor, sigma: Tensor, hidden: Tensor) -> Tensor:
    """Velocity ``[B, C, h, w]`` float32 at ``sigma`` ``[B]`` for the words' hidden states ``[B, L, width]``."""
    with torch.autocast(latents.device.type, torch.bfloat16):
        made: Tensor = unet(latents, 1000.0 * sigma, hidden, return_dict=False)[0]
    return made.float()


class Sayings:
    """The captions of a run's scenes, by step: which scenes it sees, and the token ids of a caption of each."""

    def __init__(self, run: Run, dataset: Dataset, folder: Path, stage: str, device: torch.device) -> None:
        self.run, self.stage, self.device = run, stage, device
        ids = told.told(run, dataset, folder)
        self.count, self.times, length = ids.shape
        self.ids = loop.shelf(ids.reshape(-1, length), device)

    def of(self, step: int, batch: int) -> tuple[npt.NDArray[np.int64], Tensor]:
        """Rows of scenes ``[batch]``, ids int64 ``[batch, L]``."""
        chosen = loop.batch_indices(self.run, self.stage, step, batch, self.count)
        which = loop.generator(self.run, self.stage, step).integers(self.times, size=batch)
        return chosen, self.ids(chosen * self.times + which).long()


class DiffusionStage:
    """Text encoder and UNet on the scaled latents of the trained autoencoder."""

    name = "diffusion"
    steady = True

    def __init__(self, run: Run, dataset: Dataset, folder: Path, device: torch.device) -> None:
        self.run, self.device = run, device
        words = make_tokenizer(run, dataset, folder)
        self.sayings = Sayings(run, dataset, folder, self.name, device)
        self.latents = loop.shelf(autoencoder.latents(run, dataset, folder, device), device)
        self.factor = autoencoder.scaling_factor(run, dataset, folder, device)
        self.module = make_module(run, words).to(device)

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Clean latents and noise ``[B, C, h, w]``, sigma ``[B]``, token ids ``[B, L]``."""
        settings = self.run.stages[self.name]
        chosen, ids = self.sayings.of(step, settings.batch)
        latents = (self.latents(chosen).float() * self.factor).contiguous(memory_format=torch.channels_last)
        noise = loop.noise(self.run, self.name, step, tuple(latents.shape), self.device)
        normal = loop.noise(self.run, self.name, step, (len(latents),), self.device, part=1)
        sigma = torch.sigmoid(settings.sigma_mean + settings.sigma_spread * normal)
        return latents, noise, sigma, ids

    def loss(self, *batch: Tensor) -> Tensor:
        """Mean squared error of the velocity."""
        latents, noise, sigma, ids = batch
        mixed = torch.lerp(latents, noise, sigma.view(-1, 1, 1, 1))
        return mse_loss(velocity(self.module, mixed, sigma, ids), noise - latents)


class Sampler:
    """Draws from averaged weights, found by ``load``, with the same scheduler that the bundle names."""

    def __init__(self, run: Run, dataset: Dataset, folder: Path, device: torch.device, load: Load = trained) -> None:
        self.run, self.device = run, device
        self.words = tokenizer.load(folder / "tokenizer")
        self.factor = autoencoder.scaling_factor(run, dataset, folder, device)
        self.decoder: Any = autoencoder.load(run, folder, device).decoder
        module, self.steps = load(run, self.words, folder)
        self.module = module.to(device).eval()

    @torch.no_grad()
    def draw(self, prompts: Sequence[str], seed: int, steps: int, guidance: float, negative: str = "") -> Pixels:
        """One picture for each prompt: uint8 ``[B, S, S, 3]``."""
        size, channels = self.run.latent_size, self.run.autoencoder.channels
        source = torch.Generator().manual_seed(seed)
        latents = torch.randn((len(prompts), channels, size, size), generator=source).to(self.device)
        ids = tokenizer.encode(self.words, [negative] * len(prompts) + list(prompts)).to(self.device)
        scheduler = networks.scheduler(self.run)
        scheduler.set_timesteps(steps, device=self.device)
        for timestep in scheduler.timesteps:
            sigma = (timestep / 1000.0).expand(2 * len(prompts))
            away, towards = velocity(self.module, torch.cat([latents, latents]), sigma, ids).chunk(2)
            latents = scheduler.step(away + guidance * (towards - away), timestep, latents, return_dict=False)[0]
        return autoencoder.to_pixels(self.decoder(latents / self.factor))
