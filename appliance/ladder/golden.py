"""Golden pictures: the same few, drawn by every engine before it may serve, and held to what ONNX Runtime draws.

A wrong plan seldom fails: it gives NaN, a black or flat picture, or quietly another one. So a few fixed prompts and
seeds of the bundle are drawn, and their last latents are compared with those of ONNX Runtime on the same bundle.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from appliance import durable
from appliance.errors import EngineFault, NoRoom
from appliance.pipeline.denoise import DenoiseState
from appliance.pipeline.manifest import MANIFEST, Bundle, sha256
from appliance.plans.passport import GoldenResult, Precision
from appliance.request import GenerationRequest

Array = NDArray[np.float32]

REFERENCE = "golden.npz"  # in a bundle that was exported with it
SEEDS = (1, 2)
STEPS = 4
_BLACK = 8  # of 255: nothing in the picture is brighter
_FLAT = 2.0  # of 255: the pixels' standard deviation

# The smallest cosine that latents may have with ONNX Runtime's. For a relative error e of the latents it is about
# 1 - e²/2. Measured on a 20-step loop (random network): float16 5.8e-4, int8 0.11; one bfloat16 call 5e-2; and what
# must be caught: another prompt 8.3e-2, no guidance 8.5e-2, prompts swapped 0.18, float32 with guidance off by 1 %
# 1.3e-3. So float32 is held to e < 1e-3, float16 to 3e-2, and the coarse ones to 0.14, which still catches a swap.
COSINE: dict[Precision, float] = {
    "float32": 1 - 5e-7,
    "float16": 1 - 5e-4,
    "bfloat16": 0.99,
    "int8": 0.99,
    "fp8": 0.99,
}


class Draws(Protocol):
    """A loaded bundle, as `TextToImage` is."""

    bundle: Bundle

    def denoise(self, request: GenerationRequest) -> Iterator[DenoiseState]:
        """The state after every step."""
        ...

    def decode(self, latents: Array) -> NDArray[np.uint8]:
        """Latents → (H, W, 3) pixels. Raises `EngineFault`."""
        ...


def requests(bundle: Bundle) -> list[GenerationRequest]:
    """The golden requests: one for each seed, of the bundle's examples, at its default size."""
    offer = bundle.manifest.offer()
    low, high = offer.steps
    steps = min(max(STEPS, low), high)
    sentences = [sentence for words in bundle.manifest.examples.values() for sentence in words] or [
        bundle.manifest.example
    ]
    return [
        GenerationRequest.of({"prompt": sentences[index % len(sentences)], "seed": seed, "steps": steps}, offer)
        for index, seed in enumerate(SEEDS)
    ]


def draw(pipeline: Draws) -> list[Array]:
    """The golden pictures' last latents, (channels, h, w) float32 each. Raises `EngineFault`."""
    return [[*pipeline.denoise(request)][-1].latents for request in requests(pipeline.bundle)]


def examine(pipeline: Draws, reference: list[Array], precision: Precision) -> GoldenResult:
    """Draw the golden pictures and say whether they hold, or why not. An engine that fails at them has not held."""
    try:
        drawn = draw(pipeline)
        spoilt = next((why for latents in drawn if (why := _spoilt(pipeline, latents))), None)
    except EngineFault as error:
        return GoldenResult(passed=False, reason=str(error))
    if spoilt is not None:
        return GoldenResult(passed=False, reason=spoilt)
    if [latents.shape for latents in drawn] != [latents.shape for latents in reference]:
        return GoldenResult(passed=False, reason="The golden pictures have another size than their reference.")
    worst = min(cosine(one, other) for one, other in zip(drawn, reference, strict=True))
    if not worst >= COSINE[precision]:
        reason = f"The latents' cosine with ONNX Runtime's is {worst:.6f}; {precision} must reach {COSINE[precision]}."
        return GoldenResult(passed=False, cosine=worst, reason=reason)
    return GoldenResult(passed=True, cosine=worst)


def reference(bundle: Bundle, keep: Path, load: Callable[[], Draws]) -> list[Array]:
    """ONNX Runtime's latents: those that came with the bundle, or that were kept, or drawn now by `load` and kept.

    `keep` is a folder of this box. Raises `EngineFault` when ONNX Runtime itself draws no pictures.
    """
    with_it = stored(bundle)
    if with_it is not None:
        return with_it
    path = keep / f"{sha256(bundle.folder / MANIFEST)}.npz"
    kept = _read(path)
    if kept is not None:
        return kept
    drawn = draw(load())
    durable.private_folder(keep)
    with contextlib.suppress(NoRoom):  # then it is drawn again next time
        durable.write(path, packed(drawn))
    return drawn


def stored(bundle: Bundle) -> list[Array] | None:
    """The latents that came with the bundle, or None."""
    return _read(bundle.path(REFERENCE)) if REFERENCE in bundle.manifest.files else None


def packed(latents: list[Array]) -> bytes:
    """As `REFERENCE` and kept files hold them."""
    file = io.BytesIO()
    np.savez(file, *latents)
    return file.getvalue()


def cosine(one: Array, other: Array) -> float:
    """Of two tensors as vectors, in float64; NaN when either is zero or not finite."""
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def _spoilt(pipeline: Draws, latents: Array) -> str | None:
    """Why this is no picture, or None."""
    if not np.isfinite(latents).all():
        return "The golden pictures' latents are no numbers (NaN or infinite)."
    pixels = pipeline.decode(latents)
    if int(pixels.max()) < _BLACK:
        return "The golden pictures come out black."
    if float(pixels.std()) < _FLAT:
        return "The golden pictures come out as one flat colour."
    return None


def _read(path: Path) -> list[Array] | None:
    """None when there is none, or none that can be used."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return [arrays[name].astype(np.float32) for name in arrays.files]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError):
        return None
