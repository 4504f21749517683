"""Schedulers: a noise schedule and a step rule, folded into a small table of numbers.

Every scheduler here says the same three sentences, so a step of any of them is one line of arithmetic:

    latents   = alpha x0 + sigma noise                             what the latents are, at every step
    denoised  = p latents + q model_output                         the network's guess at x0
    latents'  = a latents + b denoised + c denoised_before + n noise

`alpha` and `sigma` are the signal and noise rates of DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095, eq. 2.1):
alpha**2 + sigma**2 = 1 for networks trained on betas, alpha + sigma = 1 for flow networks. `ratio` below is
sigma / alpha, the noise level of Karras et al. (2022, arXiv:2206.00364), which other libraries call sigma. As
latents keep the scale that the network was trained on, it is fed the latents as they are: there is no
`scale_model_input` to remember.

Coefficients are float64, arrays float32. The gate in tests/pipeline/test_schedulers.py holds all of them to
diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.errors import BadInput
from appliance.pipeline.manifest import SchedulerSettings

Floats = NDArray[np.floating[Any]]  # float64 in all tables
Latents = NDArray[np.float32]

MAX_BETA = 0.999  # Nichol & Dhariwal 2021, arXiv:2102.09672, section 3.2
KARRAS_RHO = 7.0  # Karras et al. 2022, arXiv:2206.00364, eq. 5
LCM_TRAINED_STEPS = 50  # the teacher's steps in Luo et al. 2023, arXiv:2310.04378, section 4.3
LCM_TIMESTEP_SCALING = 10.0  # the same, appendix
LCM_SIGMA_DATA = 0.5


@dataclass(frozen=True)
class Levels:
    """The noise levels a picture passes: `timesteps` (N,) as the network is told them, `alpha` and `sigma` (N + 1,).

    The last level is clean: alpha 1, sigma 0.
    """

    timesteps: Floats
    alpha: Floats
    sigma: Floats


@dataclass(frozen=True)
class Rule:
    """The coefficients of one step rule, each (N,) float64; `c` weighs the denoised latents of the step before."""

    a: Floats
    b: Floats
    c: Floats
    n: Floats


@dataclass(frozen=True)
class Schedule:
    """A scheduler made ready for one number of steps.

    `timesteps` (N,) float32; `alpha`, `sigma` (N + 1,) float64; `coefficients` (N, 6) float64, the columns
    p, q, a, b, c, n of the module's text; the first latents are `init_noise_sigma` x standard normal noise, or where
    `skipped` steps are left out, a picture at the first level.
    """

    name: str
    timesteps: NDArray[np.float32]
    alpha: Floats
    sigma: Floats
    coefficients: Floats
    init_noise_sigma: float
    skipped: int = 0

    @property
    def num_inference_steps(self) -> int:
        return len(self.timesteps)

    def needs_noise(self, step: int) -> bool:
        """Whether this step mixes in fresh noise."""
        return bool(self.coefficients[step, 5] != 0.0)


def step(
    schedule: Schedule,
    index: int,
    latents: Latents,
    model_output: Latents,
    history: Latents | None,
    noise: Latents | None,
) -> tuple[Latents, Latents]:
    """One denoise step: (the next latents, the denoised latents, which are the next call's `history`).

    All arrays are float32 of the latents' shape. `history` may be None at index 0; `noise` (standard normal) may
    be None where `schedule.needs_noise(index)` is false.
    """
    p, q, a, b, c, n = (float(value) for value in schedule.coefficients[index])
    denoised: Latents = p * latents + q * model_output
    advanced: Latents = a * latents + b * denoised
    for weight, term, name in ((c, history, "history"), (n, noise, "noise")):
        if weight != 0.0:
            if term is None:
                raise ValueError(f"step {index} of {schedule.name} needs {name}")
            advanced += weight * term
    return advanced, denoised


def make_schedule(name: str, settings: SchedulerSettings, num_inference_steps: int, skip: int = 0) -> Schedule:
    """The table of scheduler `name` for `num_inference_steps` steps of a network trained with `settings`.

    The first `skip` of them are left out, and the rest is a run of its own: its first step knows no step before it.
    Raises `BadInput` for a name that is unknown or does not fit the network, and for a number of steps that the
    scheduler cannot take.
    """
    fitting = compatible(settings.prediction_type)
    if name not in fitting:
        raise BadInput(f"The scheduler {name[:40]!r} does not fit this model: choose one of {', '.join(fitting)}.")
    if not 1 <= num_inference_steps <= settings.num_train_timesteps:
        raise BadInput(f"steps must be 1 to {settings.num_train_timesteps}, not {num_inference_steps}.")
    scheduler = _SCHEDULERS[name]
    whole = scheduler.levels(settings, num_inference_steps)
    levels = Levels(whole.timesteps[skip:], whole.alpha[skip:], whole.sigma[skip:])
    p, q = _PREDICTIONS[settings.prediction_type](levels.alpha[:-1], levels.sigma[:-1])
    rule = scheduler.rule(levels)
    return Schedule(
        name=name,
        timesteps=levels.timesteps.astype(np.float32),
        alpha=levels.alpha,
        sigma=levels.sigma,
        coefficients=np.stack([p, q, rule.a, rule.b, rule.c, rule.n], axis=1),
        init_noise_sigma=scheduler.init_noise_sigma(settings, whole),
        skipped=skip,
    )


def compatible(prediction_type: str) -> list[str]:
    """The schedulers that fit a network of this prediction type, the best first.

    `lcm` fits every diffusion network's arithmetic, but draws well only with one that was distilled for it.
    """
    return list(_FLOW if prediction_type == "flow" else _DIFFUSION)


# What the network predicts → p, q of  denoised = p latents + q model_output


def _from_epsilon(alpha: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """model_output = noise (Ho et al. 2020, arXiv:2006.11239, eq. 15)."""
    return 1.0 / alpha, -sigma / alpha


def _from_v_prediction(alpha: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """model_output = alpha noise - sigma x0 (Salimans & Ho 2022, arXiv:2202.00512, appendix D)."""
    return alpha, -sigma


def _from_sample(alpha: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """model_output = x0."""
    return np.zeros_like(alpha), np.ones_like(sigma)


def _from_flow(alpha: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """model_output = noise - x0, alpha = 1 - sigma (Esser et al. 2024, arXiv:2403.03206, section 2)."""
    return np.ones_like(alpha), -sigma


_PREDICTIONS: dict[str, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {
    "epsilon": _from_epsilon,
    "v_prediction": _from_v_prediction,
    "sample": _from_sample,
    "flow": _from_flow,
}


# Noise levels


def alphas_cumprod(settings: SchedulerSettings) -> Floats:
    """The running product of 1 - beta over the training timesteps, (num_train_timesteps,) float64."""
    count = settings.num_train_timesteps
    match settings.beta_schedule:
        case "linear":
            betas = np.linspace(settings.beta_start, settings.beta_end, count)
        case "scaled_linear":
            betas = np.linspace(settings.beta_start**0.5, settings.beta_end**0.5, count) ** 2
        case "squaredcos_cap_v2":
            edges = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * math.pi / 2) ** 2
            betas = np.minimum(1.0 - edges[1:] / edges[:-1], MAX_BETA)
    return np.cumprod(1.0 - betas)


def _trained_ratios(settings: SchedulerSettings) -> Floats:
    """sigma / alpha at every training timestep, rising."""
    product = alphas_cumprod(settings)
    return np.sqrt((1.0 - product) / product)


def _at_ratios(timesteps: Floats, ratios: Floats) -> Levels:
    """Levels from noise ratios sigma / alpha (N,) with alpha**2 + sigma**2 = 1; the clean level is added."""
    alpha = 1.0 / np.sqrt(ratios**2 + 1.0)
    return Levels(timesteps, np.append(alpha, 1.0), np.append(ratios * alpha, 0.0))


def _at_timesteps(settings: SchedulerSettings, timesteps: Floats) -> Levels:
    """Levels at (possibly fractional) training timesteps, the ratio interpolated between two of them."""
    ratios = _trained_ratios(settings)
    return _at_ratios(timesteps, np.interp(timesteps, np.arange(len(ratios)), ratios))


def _spaced(settings: SchedulerSettings, count: int) -> Floats:
    """Falling timesteps by Table 2 of Lin et al. 2023, arXiv:2305.08891."""
    trained = settings.num_train_timesteps
    match settings.timestep_spacing:
        case "linspace":
            return np.linspace(0.0, trained - 1.0, count)[::-1]
        case "leading":
            return _multiples(trained // count, count, settings.steps_offset)
        case "trailing":
            falling: Floats = np.arange(trained, 0.0, -trained / count)[:count].round() - 1.0
            return falling


def _multiples(stride: int, count: int, offset: int) -> Floats:
    """stride x (count - 1 ... 1, 0) + offset."""
    falling: Floats = np.arange(count - 1, -1, -1, dtype=np.float64) * stride + offset
    return falling


def _spaced_inside(settings: SchedulerSettings, count: int) -> Floats:
    """The same for DPM-Solver++, which leaves out the last of count + 1 points: whole timesteps."""
    trained = settings.num_train_timesteps
    match settings.timestep_spacing:
        case "linspace":
            falling: Floats = np.linspace(0.0, trained - 1.0, count + 1).round()[:0:-1]
            return falling
        case "leading":
            return _multiples(trained // (count + 1), count + 1, settings.steps_offset)[:-1]
        case "trailing":
            return _spaced(settings, count)


def _karras(highest: float, lowest: float, count: int) -> Floats:
    """Falling noise ratios, evenly spaced in ratio**(1/7) (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""
    ramp = np.linspace(0.0, 1.0, count)
    top, bottom = highest ** (1.0 / KARRAS_RHO), lowest ** (1.0 / KARRAS_RHO)
    ratios: Floats = (top + ramp * (bottom - top)) ** KARRAS_RHO
    return ratios


def _timesteps_of(settings: SchedulerSettings, ratios: Floats) -> Floats:
    """The fractional training timesteps with these noise ratios, interpolated in the logarithm."""
    trained = _trained_ratios(settings)
    return np.interp(np.log(ratios), np.log(trained), np.arange(len(trained)))


def _euler_levels(settings: SchedulerSettings, count: int) -> Levels:
    return _at_timesteps(settings, _spaced(settings, count))


def _euler_karras_levels(settings: SchedulerSettings, count: int) -> Levels:
    spaced = _spaced(settings, count)
    trained = np.interp(spaced, np.arange(settings.num_train_timesteps), _trained_ratios(settings))
    ratios = _karras(trained[0], trained[-1], count)
    return _at_ratios(_timesteps_of(settings, ratios), ratios)


def _ddim_levels(settings: SchedulerSettings, count: int) -> Levels:
    return _at_timesteps(settings, _spaced(settings, count).round())


def _dpmpp_levels(settings: SchedulerSettings, count: int) -> Levels:
    return _at_timesteps(settings, _spaced_inside(settings, count))


def _dpmpp_karras_levels(settings: SchedulerSettings, count: int) -> Levels:
    trained = _trained_ratios(settings)
    ratios = _karras(trained[-1], trained[0], count)
    return _at_ratios(_timesteps_of(settings, ratios).round(), ratios)


def _lcm_levels(settings: SchedulerSettings, count: int) -> Levels:
    """Evenly chosen among the teacher's 50 timesteps (Luo et al. 2023, arXiv:2310.04378, section 4.3)."""
    if count > LCM_TRAINED_STEPS:
        raise BadInput(f"lcm draws in 1 to {LCM_TRAINED_STEPS} steps, not {count}: 4 to 8 are enough.")
    stride = settings.num_train_timesteps // LCM_TRAINED_STEPS
    taught = (np.arange(1, LCM_TRAINED_STEPS + 1) * stride - 1)[::-1]
    chosen = taught[np.floor(np.linspace(0, LCM_TRAINED_STEPS, count, endpoint=False)).astype(int)]
    return _at_timesteps(settings, chosen.astype(np.float64))


def _shifted(sigma: Floats, shift: float) -> Floats:
    """Move the schedule towards noise, as larger pictures need (Esser et al. 2024, arXiv:2403.03206, eq. 23)."""
    return shift * sigma / (1.0 + (shift - 1.0) * sigma)


def _flow_levels(settings: SchedulerSettings, count: int) -> Levels:
    """Evenly spaced sigma, then shifted: down to 1/N when `trailing` (as FLUX), else to the smallest trained one."""
    lowest = 1.0 / settings.num_train_timesteps
    if settings.timestep_spacing == "trailing":
        even = np.linspace(1.0, 1.0 / count, count)
    else:
        even = np.linspace(1.0, float(_shifted(np.array(lowest), settings.shift)), count)
    sigma = _shifted(even, settings.shift)
    return Levels(sigma * settings.num_train_timesteps, np.append(1.0 - sigma, 1.0), np.append(sigma, 0.0))


def _flow_dpmpp_levels(settings: SchedulerSettings, count: int) -> Levels:
    """Evenly spaced sigma from just under 1, where log(alpha / sigma) is still finite; whole timesteps."""
    trained = settings.num_train_timesteps
    sigma = _shifted(1.0 - np.linspace(1.0, 1.0 / trained, count + 1), settings.shift)[:0:-1]
    return Levels(np.trunc(sigma * trained), np.append(1.0 - sigma, 1.0), np.append(sigma, 0.0))


# Step rules


def _first_order(levels: Levels) -> Rule:
    """Keep the noise direction: latents' = alpha' x0 + sigma' noise, with noise = (latents - alpha x0) / sigma.

    DDIM with eta 0 (Song et al. 2021, arXiv:2010.02502, eq. 12), Euler on the probability flow (Karras et al.
    2022, arXiv:2206.00364, algorithm 1 without churn), Euler on a rectified flow (Esser et al. 2024,
    arXiv:2403.03206) and DPM-Solver++ of order 1 are this one rule; they differ in their levels.
    """
    a = levels.sigma[1:] / levels.sigma[:-1]
    b = levels.alpha[1:] - a * levels.alpha[:-1]
    zero = np.zeros_like(a)
    return Rule(a, b, zero, zero)


def _dpmpp_2m(levels: Levels) -> Rule:
    """DPM-Solver++(2M), midpoint (Lu et al. 2022, arXiv:2211.01095, algorithm 2).

    The first step has no step before it, and the last ends where log(alpha / sigma) is infinite: both are of
    first order, as is the last but one of a run of a single step.
    """
    first = _first_order(levels)
    log_snr = np.log(levels.alpha[:-1] / levels.sigma[:-1])
    h = np.diff(log_snr)
    weight = np.zeros_like(first.b)
    weight[1:-1] = 0.5 * h[1:] / h[:-1]
    return Rule(first.a, first.b * (1.0 + weight), -first.b * weight, first.n)


def _ancestral(levels: Levels) -> Rule:
    """Euler to a lower level, then noise up to the next (Karras et al. 2022's notation; k-diffusion's ancestral).

    In ratios r = sigma / alpha: up**2 = r'**2 (r**2 - r'**2) / r**2, down**2 = r'**2 - up**2 (Ho et al. 2020,
    arXiv:2006.11239, the posterior variance of eq. 7).
    """
    ratio = levels.sigma / levels.alpha
    now, after = ratio[:-1], ratio[1:]
    up = np.sqrt(after**2 * (now**2 - after**2) / now**2)
    down = np.sqrt(after**2 - up**2)
    keep = down / now
    alpha = levels.alpha[1:]
    return Rule(alpha * keep / levels.alpha[:-1], alpha * (1.0 - keep), np.zeros_like(keep), alpha * up)


def _consistency(levels: Levels) -> Rule:
    """Jump to x0, then noise down to the next level (Luo et al. 2023, arXiv:2310.04378, algorithm 3, eq. 9)."""
    scaled = levels.timesteps * LCM_TIMESTEP_SCALING
    skip = LCM_SIGMA_DATA**2 / (scaled**2 + LCM_SIGMA_DATA**2)
    out = scaled / np.sqrt(scaled**2 + LCM_SIGMA_DATA**2)
    alpha = levels.alpha[1:]
    return Rule(alpha * skip, alpha * out, np.zeros_like(skip), levels.sigma[1:])


# The first noise


def _unit(settings: SchedulerSettings, levels: Levels) -> float:
    return 1.0


def _at_first_level(settings: SchedulerSettings, levels: Levels) -> float:
    """k-diffusion's start: pure noise of the first level, but unit variance when timesteps are `leading`."""
    return 1.0 if settings.timestep_spacing == "leading" else float(levels.sigma[0])


@dataclass(frozen=True)
class _Scheduler:
    levels: Callable[[SchedulerSettings, int], Levels]
    rule: Callable[[Levels], Rule]
    init_noise_sigma: Callable[[SchedulerSettings, Levels], float]


_DIFFUSION: dict[str, _Scheduler] = {
    "dpmpp_2m": _Scheduler(_dpmpp_levels, _dpmpp_2m, _unit),
    "dpmpp_2m_karras": _Scheduler(_dpmpp_karras_levels, _dpmpp_2m, _unit),
    "euler": _Scheduler(_euler_levels, _first_order, _at_first_level),
    "euler_karras": _Scheduler(_euler_karras_levels, _first_order, _at_first_level),
    "euler_ancestral": _Scheduler(_euler_levels, _ancestral, _at_first_level),
    "ddim": _Scheduler(_ddim_levels, _first_order, _unit),
    "lcm": _Scheduler(_lcm_levels, _consistency, _unit),
}
_FLOW: dict[str, _Scheduler] = {
    "flow_match_euler": _Scheduler(_flow_levels, _first_order, _unit),
    "flow_dpmpp_2m": _Scheduler(_flow_dpmpp_levels, _dpmpp_2m, _unit),
}
_SCHEDULERS = _DIFFUSION | _FLOW
