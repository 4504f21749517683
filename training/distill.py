"""A few-step variant: the UNet alone learns to do in one step what the guided model does in several.

Knowledge distillation along the teacher's own trajectories (Luhman and Luhman 2021, arXiv:2101.02388), with guidance
taken in (Meng et al. 2023, arXiv:2210.03142): from noise, the teacher walks with guidance in small Euler steps; between
two sigmas of the student's short schedule the target is the straight line that leads to where the teacher arrived.
The student needs neither guidance nor the unconditional row: one UNet row a step instead of two.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from training import checkpoint, diffusion, loop, networks, tokenizer
from training.corpus.data import Dataset
from training.run import Run


def variant(run: Run) -> Run:
    """The run as its few-step variant is named, drawn and exported."""
    sample = dataclasses.replace(run.sample, steps=run.distill.steps, guidance=1.0)
    return dataclasses.replace(run, name=f"{run.name}-few", sample=sample)


def trained(run: Run, words: Any, folder: Path) -> tuple[nn.ModuleDict, int]:
    """The teacher's text encoder with the student (averaged weights), and the student's steps."""
    module, _ = diffusion.trained(run, words, folder)
    progress, weights = checkpoint.load_average(folder / "distill.safetensors")
    module["unet"].load_state_dict(weights)
    return module, progress.step


def sigmas(run: Run) -> Tensor:
    """The student's schedule ``[few + 1]``, from 1 to 0, as the bundle's scheduler will walk it."""
    scheduler = networks.scheduler(run)
    scheduler.set_timesteps(run.distill.steps)
    found: Tensor = scheduler.sigmas.float()
    return found


class DistillStage:
    """The student UNet; the teacher's averaged weights and text encoder stay as they are."""

    name = "distill"
    steady = True

    def __init__(self, run: Run, dataset: Dataset, folder: Path, device: torch.device) -> None:
        self.run, self.device = run, device
        words = tokenizer.load(folder / "tokenizer")
        self.sayings = diffusion.Sayings(run, dataset, folder, self.name, device)
        self.unsaid = tokenizer.encode(words, [""]).to(device)
        teacher, _ = diffusion.trained(run, words, folder)
        self.teacher = teacher.to(device).eval().requires_grad_(False)
        self.module: nn.Module = copy.deepcopy(self.teacher["unet"]).requires_grad_(True)
        self.sigmas = sigmas(run).to(device)
        self.walk = torch.cat([self._substeps(a, b) for a, b in itertools.pairwise(self.sigmas)] + [self.sigmas[-1:]])

    def _substeps(self, start: Tensor, stop: Tensor) -> Tensor:
        """The teacher's sigmas from one of the student's to before the next."""
        parts = torch.arange(self.run.distill.substeps, device=self.device) / self.run.distill.substeps
        return torch.lerp(start, stop, parts)

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Where the trajectories begin, noise ``[B, C, h, w]``, and the token ids ``[B, L]``."""
        count = self.run.stages[self.name].batch // self.run.distill.steps
        shape = (count, self.run.autoencoder.channels, self.run.latent_size, self.run.latent_size)
        return loop.noise(self.run, self.name, step, shape, self.device), self.sayings.of(step, count)[1]

    def loss(self, *batch: Tensor) -> Tensor:
        """Mean squared error of the velocity over every step of this batch's trajectories."""
        states, hidden = self.trajectories(*batch)
        gaps = (self.sigmas[1:] - self.sigmas[:-1]).view(-1, 1, 1, 1, 1)
        wanted = (states[1:] - states[:-1]) / gaps
        count = states.shape[1]
        sigma = self.sigmas[:-1].repeat_interleave(count)
        made = diffusion.predict(self.module, states[:-1].flatten(0, 1), sigma, hidden.repeat(len(gaps), 1, 1))
        return mse_loss(made, wanted.flatten(0, 1))

    @torch.no_grad()
    def trajectories(self, latents: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Where the teacher stood at each of the student's sigmas ``[few + 1, B, C, h, w]``, and the words' states."""
        both = torch.cat([ids, self.unsaid.expand(len(ids), -1)])
        hidden = self.teacher["text_encoder"](both).last_hidden_state
        states = [latents]
        for here, there in itertools.pairwise(self.walk):
            latents = latents + (there - here) * self._guided(latents, here, hidden)
            states.append(latents)
        return torch.stack(states[:: self.run.distill.substeps]), hidden[: len(ids)]

    def _guided(self, latents: Tensor, sigma: Tensor, hidden: Tensor) -> Tensor:
        """The teacher's velocity with the run's guidance scale (Ho and Salimans 2022, arXiv:2207.12598)."""
        both = torch.cat([latents, latents])
        towards, away = diffusion.predict(self.teacher["unet"], both, sigma.expand(len(both)), hidden).chunk(2)
        return away + self.run.sample.guidance * (towards - away)
