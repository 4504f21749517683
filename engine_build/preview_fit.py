"""The preview map: latents → RGB by one matrix, fitted at export on pictures that the bundle itself draws.

A preview must cost nothing, so it is linear: each latent pixel becomes `patch` x `patch` pixels. With 16
channels there is detail enough in one latent pixel for a 4 x 4 patch; the held-out error decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.pipeline.manifest import Bundle, Preview
from engine_build import parity

Floats = NDArray[Any]
PICTURES = 24
STEPS = 8
PATCHES = (1, 2, 4, 8)
WORTH = 0.02  # a larger patch must lower the held-out error by this share
RIDGE = 1e-4
DIGITS = 5  # rounding hides the last bits, which threads may change


@dataclass(frozen=True, slots=True)
class Fit:
    """`r2` is the share of variance explained on pictures left out of the fit, at the preview's resolution."""

    preview: Preview
    r2: float
    r2_full: float
    pictures: int
    drawn: bool

    def summary(self) -> dict[str, Any]:
        return {
            "patch": self.preview.patch,
            "r2": round(self.r2, 4),
            "r2_full_size": round(self.r2_full, 4),
            "pictures": self.pictures,
            "drawn_from_prompts": self.drawn,
        }


def fit(bundle: Bundle, say: Callable[[str], None]) -> Fit:
    """Draw, decode and fit. Latents are as the denoise loop holds them, before `scaling_factor`."""
    latents, drawn = final_latents(bundle, say)
    images = decode(bundle, latents)
    split = max(1, len(latents) // 4)
    best: Fit | None = None
    for patch in PATCHES:
        if patch > bundle.manifest.latents.scale:
            break
        found = fit_patch(latents, images, patch, split, drawn)
        if best is None or (1 - found.r2_full) < (1 - best.r2_full) * (1 - WORTH):
            best = found
    assert best is not None
    say(f"preview: patch {best.preview.patch}, R² {best.r2:.3f} on pictures left out")
    return best


def fit_patch(latents: Floats, images: Floats, patch: int, split: int, drawn: bool = False) -> Fit:
    """Fit on all but the first `split` pictures, judge on those.

    latents float32 (n, C, h, w), images float32 (n, 3, h * scale, w * scale) in [-1, 1].
    """
    targets = patches(images, latents.shape[2:], patch)
    matrix, bias = solve(rows(latents[split:]), targets[split:].reshape(-1, 3 * patch * patch))
    guess = latents[:split].transpose(0, 2, 3, 1) @ matrix + bias
    full = patches(images[:split], latents.shape[2:], images.shape[2] // latents.shape[2])
    preview = Preview(patch=patch, matrix=matrix.tolist(), bias=bias.tolist())
    return Fit(
        preview=preview,
        r2=explained(guess, targets[:split]),
        r2_full=explained(enlarge(guess, patch, full.shape[3]), full),
        pictures=len(latents),
        drawn=drawn,
    )


def rows(latents: Floats) -> Floats:
    """(n, C, h, w) → (n * h * w, C) float64."""
    flat: Floats = latents.transpose(0, 2, 3, 1).reshape(-1, latents.shape[1]).astype(np.float64)
    return flat


def patches(images: Floats, grid: tuple[int, ...], patch: int) -> Floats:
    """(n, 3, H, W) → (n, h, w, patch * patch * 3): block means, columns in (row, column, RGB) order."""
    n, (h, w) = len(images), grid
    cell = images.shape[2] // (h * patch)
    blocks = images.reshape(n, 3, h, patch, cell, w, patch, cell).mean(axis=(4, 7))
    return np.ascontiguousarray(blocks.transpose(0, 2, 4, 3, 5, 1)).reshape(n, h, w, -1)


def enlarge(values: Floats, patch: int, columns: int) -> Floats:
    """The (n, h, w, patch * patch * 3) preview, each pixel repeated up to `columns` = scale * scale * 3."""
    scale = int(round((columns // 3) ** 0.5))
    n, h, w, _ = values.shape
    grid = values.reshape(n, h, w, patch, patch, 3)
    grid = grid.repeat(scale // patch, axis=3).repeat(scale // patch, axis=4)
    return grid.reshape(n, h, w, columns)


def solve(inputs: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Least squares with a slight ridge: targets ≈ inputs @ matrix + bias, rounded to `DIGITS`."""
    mean_in, mean_out = inputs.mean(axis=0), targets.mean(axis=0, dtype=np.float64)
    centred = inputs - mean_in
    gram = centred.T @ centred
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    matrix = np.linalg.solve(gram, centred.T @ (targets - mean_out))
    return matrix.round(DIGITS) + 0.0, (mean_out - mean_in @ matrix).round(DIGITS) + 0.0


def explained(guess: Floats, truth: Floats) -> float:
    """R² over all numbers, against the mean colour."""
    mean = truth.reshape(-1, 3).mean(axis=0)
    spread = ((truth.reshape(-1, 3) - mean) ** 2).sum()
    return float(1 - ((guess - truth) ** 2).sum() / max(float(spread), 1e-12))


def decode(bundle: Bundle, latents: Floats) -> Floats:
    """latents (n, C, h, w) → images (n, 3, H, W) clipped to [-1, 1], one at a time."""
    manifest = bundle.manifest
    runner = parity.session(bundle.path(manifest.components["vae_decoder"].file))
    scaled = latents / np.float32(manifest.latents.scaling_factor) + np.float32(
        manifest.latents.shift_factor
    )
    images = [
        runner.run(["image"], {"latents": one[None].astype(np.float32)})[0][0] for one in scaled
    ]
    pictures: Floats = np.clip(np.stack(images), -1, 1)
    return pictures


def correlated_latents(bundle: Bundle, count: int = PICTURES) -> Floats:
    """Stand-ins for drawn latents: Gaussian, unit variance, smooth over a few pixels."""
    latents = bundle.manifest.latents
    width, height = bundle.manifest.sizes[0]
    shape = (count, latents.channels, height // latents.scale, width // latents.scale)
    noise = np.random.default_rng(0).standard_normal(shape)
    for axis in (2, 3):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    smooth: Floats = (noise / noise.std()).astype(np.float32)
    return smooth


def final_latents(bundle: Bundle, say: Callable[[str], None]) -> tuple[Floats, bool]:
    """Clean latents of the bundle's own pictures; (latents, drawn)."""
    return correlated_latents(bundle), False
