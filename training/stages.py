"""From a run's folder to its stages: what the command line calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from training import autoencoder, diffusion, distill, loop, sheet
from training.corpus import data
from training.evaluation import judge
from training.loop import Budget, Trainer
from training.run import Run

STAGES: dict[str, Callable[[Run, data.Dataset, Path, torch.device], loop.Stage]] = {
    "autoencoder": autoencoder.AutoencoderStage,
    "diffusion": diffusion.DiffusionStage,
    "decoder": autoencoder.DecoderStage,
    "distill": distill.DistillStage,
    "judge": judge.JudgeStage,
}


def train(
    run: Run,
    name: str,
    folder: Path,
    device_name: str,
    minutes: float | None = None,
    restart: bool = False,
    stop_after: int | None = None,
) -> bool:
    """Train one stage from its checkpoint to its end; False when a signal stopped it."""
    device = loop.pick_device(device_name)
    dataset = data.load(run, folder / "data")
    if restart:
        (folder / f"{name}.safetensors").unlink(missing_ok=True)
        (folder / f"{name}.jsonl").unlink(missing_ok=True)
    stage = STAGES[name](run, dataset, folder, device)
    return Trainer(run, stage, folder, device, Budget(minutes, stop_after)).train()


def draw(
    run: Run,
    folder: Path,
    device_name: str,
    out: Path,
    prompts: list[str] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    count: int = 8,
    load: diffusion.Load = diffusion.trained,
) -> None:
    """A contact sheet: one row a prompt, one column a seed."""
    lines = prompts or list(run.sample.prompts)
    sampler = diffusion.Sampler(run, data.load(run, folder / "data"), folder, loop.pick_device(device_name), load)
    columns = [
        sampler.draw(lines, seed, steps or run.sample.steps, run.sample.guidance if guidance is None else guidance)
        for seed in range(count)
    ]
    rows = [np.stack([column[i] for column in columns]) for i in range(len(lines))]
    sheet.write(out, rows, lines)
