"""The autoencoder's two stages: encoder and decoder together, then the decoder alone behind the fixed encoder.

The second stage may run after the diffusion, whose latents it leaves as they are, and makes the pictures sharper.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from tqdm import tqdm

from training import checkpoint, loop, networks
from training.corpus.data import Dataset
from training.corpus.library import Pixels
from training.run import Run


def to_tensor(pictures: Pixels, device: torch.device) -> Tensor:
    """uint8 ``[B, S, S, 3]`` to float32 ``[B, 3, S, S]`` in -1 … 1, channels-last."""
    return to_floats(torch.from_numpy(np.array(pictures, order="C")).to(device))


def to_floats(pictures: Tensor) -> Tensor:
    """uint8 ``[B, S, S, 3]`` to float32 ``[B, 3, S, S]`` in -1 … 1, channels-last."""
    return (pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)


def to_pixels(tensor: Tensor) -> Pixels:
    """float ``[B, 3, S, S]`` in -1 … 1 to uint8 ``[B, S, S, 3]``."""
    scaled = (tensor.float().clamp(-1, 1) + 1.0) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def moved(pictures: Tensor, most: int, rng: np.random.Generator) -> Tensor:
    """Each picture ``[B, S, S, 3]`` mirrored or not and moved by up to ``most`` pixels, its edge repeated."""
    count, size = len(pictures), pictures.shape[1]
    shifts = rng.integers(-most, most + 1, (2, count, 1))
    rows, columns = (np.arange(size) + shifts).clip(0, size - 1)
    mirrored = rng.random((count, 1)) < 0.5
    columns = np.where(mirrored, columns[:, ::-1], columns)
    each = np.arange(count)[:, None, None]
    where = [torch.from_numpy(axis).to(pictures.device) for axis in (each, rows[:, :, None], columns[:, None, :])]
    return pictures[where[0], where[1], where[2]]


def picture_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of pixels and, for sharp edges, of their differences across 1 and 2 pixels."""
    loss = l1_loss(made, wanted)
    for step in (1, 2):
        for a, b in ((made, wanted), (made.transpose(2, 3), wanted.transpose(2, 3))):
            loss = loss + 0.5 * l1_loss(a[..., step:] - a[..., :-step], b[..., step:] - b[..., :-step])
    return loss


def spread_loss(latents: Tensor) -> Tensor:
    """How far each channel of ``[B, C, h, w]`` is from zero mean and unit standard deviation over the batch."""
    mean = latents.mean(dim=(0, 2, 3))
    deviation = latents.std(dim=(0, 2, 3))
    return mean.square().mean() + (deviation.clamp_min(1e-3).log()).square().mean()


class AutoencoderStage:
    """Encoder and decoder together. Noise on the latents makes the decoder forgive what the UNet gets wrong."""

    name = "autoencoder"
    steady = True

    def __init__(self, run: Run, dataset: Dataset, folder: Path, device: torch.device) -> None:
        self.run, self.count, self.device = run, len(dataset.pictures), device
        torch.manual_seed(run.seed)
        self.module: nn.Module = networks.fastest_layout(networks.autoencoder(run)).to(device)
        self.pictures = loop.shelf(dataset.pictures, device)

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Pictures float ``[B, 3, S, S]``, and the noise on their latents."""
        settings = self.run.stages[self.name]
        chosen = loop.batch_indices(self.run, self.name, step, settings.batch, self.count)
        rng = loop.generator(self.run, self.name, step)
        wanted = to_floats(moved(self.pictures(chosen), settings.shift, rng))
        return wanted, latent_noise(self.run, self.name, step, self.device)

    def loss(self, *batch: Tensor) -> Tensor:
        """Reconstruction from noisy latents, and the latents' spread."""
        wanted, noise = batch
        with torch.autocast(self.device.type, torch.bfloat16):
            latents = self.module.encoder(wanted).float()  # type: ignore[operator]
            made = self.module.decoder(latents + noise).float()  # type: ignore[operator]
        return picture_loss(made, wanted) + 0.05 * spread_loss(latents)


class DecoderStage:
    """The decoder alone, from the latents that the diffusion was trained on."""

    name = "decoder"
    steady = True

    def __init__(self, run: Run, dataset: Dataset, folder: Path, device: torch.device) -> None:
        self.run, self.count, self.device = run, len(dataset.pictures), device
        trained: Any = load(run, folder, device, refined=False)
        self.encoder = trained.encoder
        self.module: nn.Module = networks.fastest_layout(trained.decoder)
        self.pictures = loop.shelf(dataset.pictures, device)

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Pictures float ``[B, 3, S, S]``, and the noise on their latents."""
        chosen = loop.batch_indices(self.run, self.name, step, self.run.stages[self.name].batch, self.count)
        return to_floats(self.pictures(chosen)), latent_noise(self.run, self.name, step, self.device)

    def loss(self, *batch: Tensor) -> Tensor:
        """Reconstruction from the fixed encoder's latents with noise."""
        wanted, noise = batch
        with torch.autocast(self.device.type, torch.bfloat16):
            with torch.no_grad():
                latents = self.encoder(wanted).float()
            made = self.module(latents + noise).float()
        return picture_loss(made, wanted)


def latent_noise(run: Run, stage: str, step: int, device: torch.device) -> Tensor:
    """What an autoencoder stage lays on its latents ``[B, C, h, w]``."""
    settings = run.stages[stage]
    shape = (settings.batch, run.autoencoder.channels, run.latent_size, run.latent_size)
    return settings.noise * loop.noise(run, stage, step, shape, device)


@torch.no_grad()
def encode(autoencoder: nn.Module, pictures: Pixels, device: torch.device, batch: int = 64) -> Tensor:
    """Latents ``[N, C, h, w]`` float32, not yet scaled."""
    parts = []
    for i in tqdm(range(0, len(pictures), batch), desc="latents", mininterval=5, disable=None):
        with torch.autocast(device.type, torch.bfloat16):
            parts.append(autoencoder.encoder(to_tensor(pictures[i : i + batch], device)).float().cpu())  # type: ignore[operator]
    return torch.cat(parts)


def scaling_factor(run: Run, dataset: Dataset, folder: Path, device: torch.device) -> float:
    """What brings the latents to unit standard deviation; diffusers multiplies by it, and divides before decoding.

    Taken from a thousand pictures or so, evenly spread: whoever exports or samples need not encode them all.
    """
    some = dataset.pictures[:: 1 + len(dataset.pictures) // 1024]
    return float(1.0 / encode(load(run, folder, device), some, device).std())


def latents(run: Run, dataset: Dataset, folder: Path, device: torch.device) -> npt.NDArray[np.float16]:
    """Latents ``[N, C, h, w]`` float16 of every picture, not yet scaled; kept on the disk while the encoder and the
    pictures (their number, and some of them) stay the same.
    """
    trained = load(run, folder, device)
    path = folder / f"latents-{_digest(trained, dataset.pictures)}.npy"
    if not path.exists():
        made = encode(trained, dataset.pictures, device).half().numpy()
        for old in folder.glob("latents-*.npy"):
            old.unlink()
        partial = path.with_suffix(".partial.npy")
        np.save(partial, made, allow_pickle=False)
        os.replace(partial, path)
    kept: npt.NDArray[np.float16] = np.load(path, allow_pickle=False)
    return kept


def _digest(autoencoder: nn.Module, pictures: Pixels) -> str:
    """What tells this encoder's latents of these pictures from others."""
    digest = hashlib.sha256(repr(pictures.shape).encode())
    for tensor in autoencoder.encoder.state_dict().values():  # type: ignore[union-attr]
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    digest.update(pictures[:: 1 + len(pictures) // 64].tobytes())
    return digest.hexdigest()[:16]


def load(run: Run, folder: Path, device: torch.device, refined: bool = True) -> nn.Module:
    """The trained autoencoder (averaged weights), with the refined decoder if there is one and it is wanted."""
    trained: nn.Module = networks.autoencoder(run)
    trained.load_state_dict(checkpoint.load_average(folder / "autoencoder.safetensors")[1])
    sharper = folder / "decoder.safetensors"
    if refined and sharper.exists():
        trained.decoder.load_state_dict(checkpoint.load_average(sharper)[1])  # type: ignore[union-attr]
    return trained.to(device).eval()
