"""What every stage of training shares: rate, average of weights, checkpoints, resuming, progress.

Everything random in step ``n`` comes from ``(seed, stage, n)`` alone, so that a resumed run draws the same batches,
noise and captions as one that was never stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from training import checkpoint, optimizer
from training.checkpoint import Progress
from training.errors import TrainingError
from training.run import Run, StageSettings

_STAGES = {"autoencoder": 1, "diffusion": 2, "decoder": 3, "judge": 4, "distill": 5}


class Stage(Protocol):
    """One stage: a trainable module, and its loss at a given step (a scalar tensor that carries gradients)."""

    name: str

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    def loss(self, step: int) -> Tensor:
        """The loss of the batch that belongs to ``step``."""


@dataclass(frozen=True)
class Budget:
    """How long to go on: ``minutes`` shortens a stage, its rate falling to zero by then; ``stop_after`` breaks off."""

    minutes: float | None = None
    stop_after: int | None = None
    checkpoint_seconds: float = 120.0


def generator(run: Run, stage: str, step: int) -> np.random.Generator:
    """The source of everything numpy draws in this step."""
    return np.random.default_rng([run.seed, _STAGES[stage], step])


def noise(run: Run, stage: str, step: int, shape: tuple[int, ...], device: torch.device, part: int = 0) -> Tensor:
    """Standard normal float32 noise of this step, drawn on the CPU so that every device sees the same."""
    seed = np.random.SeedSequence([run.seed, _STAGES[stage], step, part]).generate_state(1, np.uint64)[0]
    source = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
    return torch.randn(shape, generator=source).to(device)


def batch_indices(run: Run, stage: str, step: int, batch: int, count: int) -> npt.NDArray[np.int64]:
    """Which of ``count`` pictures step ``step`` sees: epochs of shuffled pictures, none twice before all once."""
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs = positions // count
    shuffled = {
        int(epoch): np.random.default_rng([run.seed, _STAGES[stage], int(epoch), 7]).permutation(count)
        for epoch in np.unique(epochs)
    }
    return np.array([shuffled[int(e)][p % count] for e, p in zip(epochs, positions, strict=True)], np.int64)


def rate_at(settings: StageSettings, step: int, share: float) -> float:
    """Linear warm-up, then half a cosine down to zero at ``share`` = 1 of the budget."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup))
    return settings.rate * warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def fingerprint(run: Run, stage: str) -> str:
    """What a checkpoint must agree on to be resumed: every setting that gives the weights their meaning."""
    settings = run.stages[stage]
    parts = [run.seed, run.data, run.tokenizer, run.text, run.autoencoder, run.unet, stage, settings.batch]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("This machine has no CUDA device that torch can use.")
    return torch.device(name)


@contextmanager
def _until_stopped() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, so that a stop comes between two steps and after a checkpoint."""
    caught: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Trainer:
    """Runs one stage to its end, from its checkpoint if there is one."""

    def __init__(self, run: Run, stage: Stage, folder: Path, device: torch.device, budget: Budget) -> None:
        self.run, self.stage, self.device, self.budget = run, stage, device, budget
        self.settings = run.stages[stage.name]
        self.path = folder / f"{stage.name}.safetensors"
        self.log = folder / f"{stage.name}.jsonl"
        self.optimizer = optimizer.make(stage.module, self.settings.rate, self.settings.decay)
        self.average = {name: tensor.detach().clone() for name, tensor in stage.module.state_dict().items()}
        self.step, self.seconds = 0, 0.0
        if self.path.exists():
            progress = checkpoint.load(
                self.path, stage.module, self.average, self.optimizer, fingerprint(run, stage.name)
            )
            self.step, self.seconds = progress.step, progress.seconds

    def share(self) -> float:
        """The part of the budget that is spent, 0 to 1."""
        by_time = 0.0 if self.budget.minutes is None else self.seconds / (60 * self.budget.minutes)
        return max(self.step / self.settings.steps, by_time)

    def advance(self) -> float:
        """One step: loss, gradient clipped to norm 1, optimizer, average. Returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.settings, self.step, self.share())
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.stage.loss(self.step)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.stage.module.parameters(), 1.0)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"The loss of step {self.step} is not a number: lower the stage's rate.")
        self.optimizer.step()
        self._average()
        self.step += 1
        return value

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average, short at first so that the random start is soon forgotten."""
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        for name, tensor in self.stage.module.state_dict().items():
            mean = self.average[name]
            if mean.is_floating_point():
                mean.lerp_(tensor, 1 - decay)
            else:
                mean.copy_(tensor)

    def save(self) -> None:
        """Checkpoint now."""
        progress = Progress(self.step, self.seconds, fingerprint(self.run, self.stage.name))
        checkpoint.save(self.path, progress, self.stage.module, self.average, self.optimizer)

    def train(self) -> bool:
        """Go on until the budget is spent (True) or somebody stops it (False)."""
        self.stage.module.train()
        last = min(self.settings.steps, self.budget.stop_after or self.settings.steps)
        mean, saved = 0.0, time.monotonic()
        with (
            _until_stopped() as caught,
            tqdm(total=self.settings.steps, initial=self.step, desc=self.stage.name, unit="step", mininterval=5) as bar,
        ):
            while self.step < last and self.share() < 1.0 and not caught:
                start = time.monotonic()
                value = self.advance()
                self.seconds += time.monotonic() - start
                mean = value if mean == 0.0 else 0.98 * mean + 0.02 * value
                bar.update()
                bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
                if self.step % 25 == 0:
                    self._note(mean)
                if time.monotonic() - saved > self.budget.checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()
            self.save()
        return not caught

    def _note(self, mean: float) -> None:
        """One line of the stage's log."""
        line = {"step": self.step, "loss": round(mean, 5), "seconds": round(self.seconds, 1)}
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
