"""The preview map: latents → RGB by one matrix, fitted at export on pictures that the bundle itself draws.

A preview must cost nothing, so it is linear: each latent pixel becomes `patch` x `patch` pixels. With 16
channels there is detail enough in one latent pixel for a 4 x 4 patch; the held-out error decides.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.pipeline.manifest import Bundle, Manifest, Preview
from appliance.pipeline.text_to_image import TextToImage
from appliance.request import GenerationRequest

Floats = NDArray[Any]
ROWS = 8192
STEPS = 12
PATCHES = (1, 2, 4)
WORDS = ("a red apple", "a dog", "a house on a mountain", "a blue car", "a face", "the sea at night")
WORTH = 0.02  # a larger patch must lower the held-out error by this share
RIDGE = 1e-4
DIGITS = 4  # rounding hides the last bits, which the number of threads may change


@dataclass(frozen=True, slots=True)
class Fit:
    """`r2` is the share of variance explained on pictures left out of the fit, at the preview's resolution."""

    preview: Preview
    r2: float
    r2_full: float
    pictures: int

    def summary(self) -> dict[str, Any]:
        return {
            "patch": self.preview.patch,
            "r2": round(self.r2, 4),
            "r2_full_size": round(self.r2_full, 4),
            "pictures": self.pictures,
        }


def fit(bundle: Bundle, say: Callable[[str], None]) -> Fit:
    """Draw, decode and fit. Latents are as the denoise loop holds them, before `scaling_factor`."""
    say(f"preview: drawing {pictures(bundle.manifest)} pictures to fit the map latents → RGB")
    pipeline = TextToImage.load(bundle)
    latents = final_latents(pipeline)
    images = decoded(pipeline, latents)
    pipeline.close()
    return best_fit(latents, images, say)


def best_fit(latents: Floats, images: Floats, say: Callable[[str], None]) -> Fit:
    """The smallest patch that no larger one beats by `WORTH` on the pictures left out."""
    scale = images.shape[2] // latents.shape[2]
    fits = [fit_patch(latents, images, patch) for patch in PATCHES if scale % patch == 0]
    best = fits[0]
    for found in fits[1:]:
        if 1 - found.r2_full < (1 - best.r2_full) * (1 - WORTH):
            best = found
    say(f"preview: patch {best.preview.patch}, R² {best.r2:.3f} on pictures left out")
    return best


def fit_patch(latents: Floats, images: Floats, patch: int) -> Fit:
    """Fit on three quarters of the pictures, judge on the rest.

    latents float32 (n, C, h, w), images float32 (n, 3, h * scale, w * scale) in [-1, 1].
    """
    split = max(1, len(latents) // 4)
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
    scale = math.isqrt(columns // 3)
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


def decoded(pipeline: TextToImage, latents: Floats) -> Floats:
    """latents (n, C, h, w) → images (n, 3, H, W) in [-1, 1]."""
    pixels: Floats = np.stack([pipeline.decode(one) for one in latents]).transpose(0, 3, 1, 2)
    images: Floats = pixels / np.float32(127.5) - np.float32(1.0)
    return images


def final_latents(pipeline: TextToImage) -> Floats:
    """Clean latents (n, C, h, w) of the bundle's own pictures: its examples, or a few common words."""
    manifest = pipeline.bundle.manifest
    runs = (pipeline.denoise(_request(manifest, seed)) for seed in range(pictures(manifest)))
    finished = [deque(states, maxlen=1).pop() for states in runs]
    return np.stack([state.latents for state in finished])


def pictures(manifest: Manifest) -> int:
    """Enough pictures for about `ROWS` latent pixels: large ones give many each and take long to draw."""
    width, height = manifest.sizes[0]
    cells = (width // manifest.latents.scale) * (height // manifest.latents.scale)
    return min(32, max(4, ROWS // cells))


def _request(manifest: Manifest, seed: int) -> GenerationRequest:
    prompts = [(words, place) for place, lines in sorted(manifest.examples.items()) for words in lines]
    words, place = (prompts or [(words, "en") for words in WORDS])[seed % (len(prompts) or len(WORDS))]
    steps = min(STEPS, manifest.defaults.steps)
    return GenerationRequest.of({"prompt": words, "locale": place, "seed": seed, "steps": steps}, manifest.offer())
