"""Denoising as a value: a frozen `DenoiseState`, what to feed the UNet for it, and the state that follows.

Knows no GPU, queue or page, so pictures may join, leave, wait, be shown, kept and resumed between any two steps.
"""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from appliance.errors import BadInput
from appliance.pipeline.schedulers import Schedule, step

Array = NDArray[np.float32]

_SEAL_BYTES = 32
_NOTHING: Mapping[str, Array] = MappingProxyType({})


@dataclass(frozen=True)
class Noise:
    """Standard normal noise as a function of (seed, step): resuming needs no generator state.

    Philox is counter-based (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"); its key is the pair.
    """

    seed: int

    def at(self, step: int, shape: tuple[int, ...]) -> Array:
        """Float32 noise of `shape`; step 0 is the first latents, step i is mixed in on arriving at step i."""
        key = np.array([self.seed, step], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float32)


@dataclass(frozen=True)
class Original:
    """The picture that a state starts from: `latents` (channels, height, width) float32, clean.

    `mask` (1, height, width) is true where it is drawn anew; None draws all of it anew.
    """

    latents: Array
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class DenoiseState:
    """One picture between two denoise steps.

    `prompt_embeds` is (1, length, width) float32, or (2, length, width) with guidance, the negative prompt first;
    `added` holds whatever else the family's UNet takes, by input name, (rows, ...) float32, the same at every step.
    `latents` and `history` (the denoised latents of the step before, the picture as the network sees it now) are
    (channels, height, width) float32. `label` says what is drawn; it ties a checkpoint to its picture.
    """

    schedule: Schedule
    prompt_embeds: Array
    guidance_scale: float
    noise: Noise
    label: str
    latents: Array
    history: Array | None = None
    step: int = 0
    added: Mapping[str, Array] = field(default_factory=lambda: _NOTHING)
    original: Original | None = None

    @property
    def done(self) -> bool:
        return self.step >= self.schedule.num_inference_steps

    @property
    def rows(self) -> int:
        """UNet rows of one step: 1, or 2 with guidance."""
        return len(self.prompt_embeds)


@dataclass(frozen=True)
class Feeds:
    """What the UNet must be given for one step of one picture; `rows` is 1, or 2 with guidance.

    sample (rows, channels, height, width), timestep (rows,), prompt_embeds (rows, length, width), and `added` by input
    name, (rows, ...); all float32.
    """

    sample: Array
    timestep: Array
    prompt_embeds: Array
    added: Mapping[str, Array] = field(default_factory=lambda: _NOTHING)


def begin(
    schedule: Schedule,
    prompt_embeds: Array,
    guidance_scale: float,
    seed: int,
    shape: tuple[int, int, int],
    label: str,
    added: Mapping[str, Array] = _NOTHING,
) -> DenoiseState:
    """The state before the first step: pure noise of `shape` (channels, height, width)."""
    noise = Noise(seed)
    latents = noise.at(0, shape) * np.float32(schedule.init_noise_sigma)
    return DenoiseState(schedule, prompt_embeds, guidance_scale, noise, label, latents, added=added)


def begin_from(start: DenoiseState, original: Original) -> DenoiseState:
    """The state before the first step, from a picture: its latents, noised to the schedule's first level.

    `start` is `begin`'s, with a schedule that skips what the strength leaves out (SDEdit, Meng et al. 2022,
    arXiv:2108.01073). With a mask and a whole schedule the noise stays pure: nothing of what was there shines through.
    """
    if original.mask is not None and start.schedule.skipped == 0:
        return replace(start, original=original)
    return replace(start, original=original, latents=_noised(start, original, 0))


def feeds(state: DenoiseState) -> Feeds:
    """The UNet's input for the state's next step."""
    rows = state.rows
    sample = state.latents[None].repeat(rows, axis=0)
    timestep = state.schedule.timesteps[state.step : state.step + 1].repeat(rows)
    return Feeds(sample, timestep, state.prompt_embeds, state.added)


def advance(state: DenoiseState, noise_pred: Array) -> DenoiseState:
    """The state after a step, given the UNet's answer to `feeds(state)`: (rows, channels, height, width)."""
    noise = None
    if state.schedule.needs_noise(state.step):
        noise = state.noise.at(state.step + 1, state.latents.shape)
    guided = guide(noise_pred, state.guidance_scale)
    latents, denoised = step(state.schedule, state.step, state.latents, guided, state.history, noise)
    after = replace(state, latents=latents, history=denoised, step=state.step + 1)
    return after if state.original is None else _with_the_outside(after, state.original)


def _with_the_outside(state: DenoiseState, original: Original) -> DenoiseState:
    """Outside the mask the original at the state's noise level, with the noise it began with: RePaint's eq. 8a.

    (Lugmayr et al. 2022, arXiv:2201.09865.) The history outside is the original too: it has no say in what is inside,
    and previews then show what is kept.
    """
    if original.mask is None or state.history is None:
        return state
    outside = _noised(state, original, state.step)
    return replace(
        state,
        latents=np.where(original.mask, state.latents, outside),
        history=np.where(original.mask, state.history, original.latents),
    )


def _noised(state: DenoiseState, original: Original, level: int) -> Array:
    """alpha x0 + sigma noise at a level of the schedule."""
    alpha, sigma = float(state.schedule.alpha[level]), float(state.schedule.sigma[level])
    noised: Array = alpha * original.latents + sigma * state.noise.at(0, original.latents.shape)
    return noised


def guide(noise_pred: Array, guidance_scale: float) -> Array:
    """Classifier-free guidance, uncond + w (text - uncond) (Ho & Salimans 2022, arXiv:2207.12598, eq. 6).

    Takes (rows, ...) and gives (...); one row has nothing to be guided by.
    """
    text: Array = noise_pred[-1]
    if len(noise_pred) == 1:
        return text
    uncond: Array = noise_pred[0]
    guided: Array = uncond + guidance_scale * (text - uncond)
    return guided


def checkpoint(state: DenoiseState) -> bytes:
    """The state as bytes: a seal that names the picture, then an npz of step, latents and history."""
    arrays = {"step": np.array(state.step), "latents": state.latents}
    if state.history is not None:
        arrays["history"] = state.history
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    payload = file.getvalue()
    return _seal(state, payload) + payload


def resume(start: DenoiseState, kept: bytes) -> DenoiseState:
    """Continue `start` from the bytes of a checkpoint of the same picture; the rest is drawn bit for bit the same.

    Raises `BadInput` when the checkpoint is damaged or belongs to another picture.
    """
    payload = kept[_SEAL_BYTES:]
    if not hmac.compare_digest(_seal(start, payload), kept[:_SEAL_BYTES]):
        raise BadInput("The checkpoint is damaged or belongs to another picture: start the picture again.")
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        history = arrays.get("history")
        return replace(start, step=int(arrays["step"]), latents=arrays["latents"], history=history)


def _seal(state: DenoiseState, payload: bytes) -> bytes:
    """A digest over the checkpoint's content and everything the state must have in common with it."""
    common = repr((state.label, state.noise.seed, state.guidance_scale, state.rows, state.latents.shape))
    digest = hashlib.blake2b(common.encode(), digest_size=_SEAL_BYTES)
    digest.update(state.schedule.name.encode())
    digest.update(state.schedule.coefficients.tobytes())
    digest.update(payload)
    return digest.digest()
