"""Checkpoints: one safetensors file that holds weights, their average, the optimizer and where training stood.

The file is replaced atomically and only after it is safely on the disk, so a kill at any moment leaves the last whole
checkpoint. Tensors are named ``weights/…``, ``average/…``, ``first/…``, ``second/…`` and ``count/…`` (the
optimizer's moments and step counts); the rest is json in the file's own header. No pickle anywhere.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.errors import TrainingError

_MOMENTS = ("first", "second", "count")


@dataclass(frozen=True)
class Progress:
    """Where training stands: steps done, seconds spent on them in all, and the stage's fingerprint."""

    step: int
    seconds: float
    fingerprint: str


def save(
    path: Path, progress: Progress, module: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> None:
    """Write the checkpoint beside ``path``, flush it to the disk, and put it in place in one move."""
    tensors = {f"weights/{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for name, parameter in module.named_parameters():
        state = optimizer.state.get(parameter, {})
        tensors |= {f"{key}/{name}": state[key] for key in _MOMENTS if key in state}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, partial, metadata={"progress": json.dumps(asdict(progress))})
    _flush(partial)
    os.replace(partial, path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            progress = Progress(**json.loads((file.metadata() or {})["progress"]))
            return progress, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"The checkpoint {path} cannot be read: {error}.") from error


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): t for name, t in tensors.items() if name.startswith(f"{part}/")}


def load(
    path: Path, module: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, fingerprint: str
) -> Progress:
    """Put everything back as it was; refuse a checkpoint of another run, because it would go on as something else."""
    progress, tensors = _open(path)
    if progress.fingerprint != fingerprint:
        raise TrainingError(f"The checkpoint {path} belongs to other settings: start again with --restart.")
    module.load_state_dict(_part(tensors, "weights"))
    for name, tensor in _part(tensors, "average").items():
        average[name].copy_(tensor)
    parameters = dict(module.named_parameters())
    for key in _MOMENTS:
        for name, tensor in _part(tensors, key).items():
            parameter = parameters[name]
            # in the parameter's own layout and on its device, as a fresh optimizer would make it
            kept = tensor if key == "count" else torch.empty_like(parameter).copy_(tensor)
            optimizer.state[parameter][key] = kept
    return progress


def load_average(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    """The averaged weights alone, float32 on the CPU: what is sampled from and exported."""
    if not path.exists():
        raise TrainingError(f"There is no checkpoint {path}: train first.")
    progress, tensors = _open(path)
    return progress, _part(tensors, "average")
