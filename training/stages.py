"""From a run's folder to its stages: what the command line calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training import autoencoder, data, diffusion, loop, sheet
from training.errors import TrainingError
from training.loop import Budget, Trainer
from training.run import Run
from training.score import Score, score


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
    stage: loop.Stage
    if name == "autoencoder":
        stage = autoencoder.AutoencoderStage(run, dataset, device)
    elif name == "decoder":
        stage = autoencoder.DecoderStage(run, dataset, folder, device)
    else:
        stage = diffusion.DiffusionStage(run, dataset, folder, device)
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
) -> None:
    """A contact sheet: one row a prompt, one column a seed."""
    lines = prompts or list(run.sample.prompts)
    sampler = diffusion.Sampler(run, data.load(run, folder / "data"), folder, loop.pick_device(device_name))
    columns = [
        sampler.draw(lines, seed, steps or run.sample.steps, run.sample.guidance if guidance is None else guidance)
        for seed in range(count)
    ]
    rows = [np.stack([column[i] for column in columns]) for i in range(len(lines))]
    sheet.write(out, rows, lines)


def judge(
    run: Run,
    folder: Path,
    device_name: str,
    locale: str | None,
    count: int,
    steps: int | None = None,
    guidance: float | None = None,
) -> Score:
    """How often a name draws the picture that bears it."""
    locale = locale or next(iter(run.locales))
    if locale not in run.locales:
        raise TrainingError(f"The run has no locale {locale!r}.")
    if count < 1:
        raise TrainingError("The count must be at least 1.")
    dataset = data.load(run, folder / "data")
    sampler = diffusion.Sampler(run, dataset, folder, loop.pick_device(device_name))
    asked = run.sample.guidance if guidance is None else guidance
    return score(sampler, dataset, locale, count, steps or run.sample.steps, asked)
