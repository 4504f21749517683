"""What every stage of training shares: rate, average of weights, checkpoints, resuming, progress.

Everything random in step ``n`` comes from ``(seed, stage, n)`` alone, so that a resumed run draws the same batches,
noise and captions as one that was never stopped.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from appliance import stop_signals
from training import checkpoint, optimizer
from training.checkpoint import Progress
from training.errors import TrainingError
from training.recorded import Recorded
from training.run import Run, StageSettings

_STAGES = {"autoencoder": 1, "diffusion": 2, "decoder": 3, "judge": 4, "distill": 5}


class Stage(Protocol):
    """One stage: a trainable module, what a step is given, and the loss of that.

    ``steady`` says that every batch has the same shapes, so that CUDA may record the loss once.
    """

    name: str
    steady: bool

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """All that belongs to ``step``, on the device; everything random is drawn here."""

    def loss(self, *batch: Tensor) -> Tensor:
        """A scalar that carries gradients."""


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
    """Standard normal float32 noise of this step, drawn where it is used: another kind of device draws another."""
    seed = np.random.SeedSequence([run.seed, _STAGES[stage], step, part]).generate_state(1, np.uint64)[0]
    source = torch.Generator(device).manual_seed(int(seed >> np.uint64(1)))
    return torch.randn(shape, generator=source, device=device)


def shelf(array: npt.NDArray[Any], device: torch.device) -> Callable[[npt.NDArray[np.int64]], Tensor]:
    """How to take rows of ``array`` as a tensor on ``device``; a CUDA card is given all of it at once."""
    if device.type == "cuda":
        whole = torch.from_numpy(np.array(array)).to(device)
        return lambda rows: whole[torch.from_numpy(rows).to(device)]
    return lambda rows: torch.from_numpy(np.array(array[rows]))


def batch_indices(run: Run, stage: str, step: int, batch: int, count: int) -> npt.NDArray[np.int64]:
    """Which of ``count`` pictures step ``step`` sees: epochs of shuffled pictures, none twice before all once."""
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs = positions // count
    chosen = np.empty(batch, np.int64)
    for epoch in np.unique(epochs):
        now = epochs == epoch
        chosen[now] = _shuffled((run.seed, _STAGES[stage], int(epoch), 7), count)[positions[now] % count]
    return chosen


@functools.lru_cache(maxsize=2)
def _shuffled(seed: tuple[int, ...], count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count)


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
    if name == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    return torch.device(name)


@contextmanager
def _until_stopped() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, so that a stop comes between two steps and after a checkpoint."""
    caught: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    with stop_signals.heard(remember):
        yield caught


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
        self.mean: Tensor | None = None  # of the losses of late; it stays on the device until it is noted
        self.recorded: Recorded | None = None
        if self.path.exists():
            progress = checkpoint.load(
                self.path, stage.module, self.average, self.optimizer, fingerprint(run, stage.name)
            )
            self.step, self.seconds = progress.step, progress.seconds

    def share(self) -> float:
        """The part of the budget that is spent, 0 to 1."""
        by_time = 0.0 if self.budget.minutes is None else self.seconds / (60 * self.budget.minutes)
        return max(self.step / self.settings.steps, by_time)

    def advance(self) -> None:
        """One step: loss, gradient clipped to norm 1, optimizer, average."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.settings, self.step, self.share())
        loss = self._backward(self.stage.batch(self.step)).detach()
        nn.utils.clip_grad_norm_(self.stage.module.parameters(), 1.0)
        self.optimizer.step()
        self._average()
        self.mean = loss.clone() if self.mean is None else self.mean.lerp_(loss, 0.02)
        self.step += 1

    def _backward(self, batch: tuple[Tensor, ...]) -> Tensor:
        """The loss, its gradients left in the module."""
        if self.device.type == "cuda" and self.stage.steady:
            if self.recorded is None:
                self.recorded = Recorded(self.stage.module, self.stage.loss, batch)
            return self.recorded(*batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.stage.loss(*batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average, short at first so that the random start is soon forgotten."""
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        now = self.stage.module.state_dict()
        floating = [name for name, mean in self.average.items() if mean.is_floating_point()]
        torch._foreach_lerp_([self.average[n] for n in floating], [now[n] for n in floating], 1 - decay)
        for name in self.average.keys() - set(floating):
            self.average[name].copy_(now[name])

    def loss(self) -> float:
        """The mean of the losses of late. Raises `TrainingError` when it is no number, before that is kept."""
        mean = math.nan if self.mean is None else float(self.mean)
        if not math.isfinite(mean):
            raise TrainingError(f"The loss by step {self.step} is not a number: lower the stage's rate.")
        return mean

    def save(self) -> None:
        """Checkpoint now."""
        if self.mean is not None:
            self.loss()
        progress = Progress(self.step, self.seconds, fingerprint(self.run, self.stage.name))
        checkpoint.save(self.path, progress, self.stage.module, self.average, self.optimizer)

    def train(self) -> bool:
        """Go on until the budget is spent (True) or somebody stops it (False)."""
        self.stage.module.train()
        last = min(self.settings.steps, self.budget.stop_after or self.settings.steps)
        saved = time.monotonic()
        with (
            _until_stopped() as caught,
            tqdm(total=self.settings.steps, initial=self.step, desc=self.stage.name, unit="step", mininterval=5) as bar,
        ):
            while self.step < last and self.share() < 1.0 and not caught:
                start = time.monotonic()
                self.advance()
                if self.step % 25 == 0:
                    mean = self.loss()
                    bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
                    self._note(mean)
                self.seconds += time.monotonic() - start
                bar.update()
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
