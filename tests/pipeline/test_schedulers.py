"""The gate: every scheduler against diffusers' own, on an analytic denoiser, with the same noise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.errors import BadInput
from appliance.pipeline.manifest import SchedulerSettings
from appliance.pipeline.schedulers import (
    Schedule,
    alphas_cumprod,
    compatible,
    make_schedule,
    step,
)

GATE = 1e-5
SHAPE = (4, 16, 16)
STEPS = (1, 2, 4, 10, 20, 30)
GUIDANCE = 3.0
Array = NDArray[np.float32]
Model = Callable[[Array, float], Array]
Theirs = Callable[[str, SchedulerSettings, int, Model], Array]

DIFFUSERS: dict[str, tuple[str, dict[str, object]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_karras": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": (
        "DPMSolverMultistepScheduler",
        {"use_karras_sigmas": True},
    ),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "lcm": ("LCMScheduler", {}),
    "flow_match_euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow_dpmpp_2m": ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True}),
}


def trained(prediction_type: str = "epsilon", **changes: object) -> SchedulerSettings:
    allowed = compatible(prediction_type)
    return SchedulerSettings.model_validate({"prediction_type": prediction_type, "allowed": allowed, **changes})


@dataclass(frozen=True)
class Denoiser:
    """The ideal network for data drawn, pixel by pixel, from N(centre +- mean, spread**2), two modes.

    Called with (latents, timestep, text), float32 (C, h, w); text moves the modes.
    """

    settings: SchedulerSettings
    spread: float = 0.7
    centre: float = 0.3

    def __call__(self, latents: Array, timestep: float, text: float) -> Array:
        alpha, sigma = self.rates(timestep)
        x = latents.astype(np.float64) - alpha * self.centre
        mean = 0.8 + text * np.linspace(-0.5, 0.5, x.shape[-1])
        variance = (alpha * self.spread) ** 2 + sigma**2
        mode = np.tanh(alpha * mean * x / variance)
        clean = mode * mean + alpha * self.spread**2 / variance * (x - alpha * mode * mean)
        noise = (x - alpha * clean) / sigma
        clean += self.centre
        outputs = {
            "epsilon": noise,
            "sample": clean,
            "v_prediction": alpha * noise - sigma * clean,
            "flow": noise - clean,
        }
        found: Array = outputs[self.settings.prediction_type].astype(np.float32)
        return found

    def rates(self, timestep: float) -> tuple[float, float]:
        if self.settings.prediction_type == "flow":
            sigma = timestep / self.settings.num_train_timesteps
            return 1.0 - sigma, sigma
        products = alphas_cumprod(self.settings)
        product = float(np.interp(timestep, np.arange(len(products)), products))
        return product**0.5, (1.0 - product) ** 0.5

    def guided(self, latents: Array, timestep: float, guidance: float = GUIDANCE) -> Array:
        uncond, text = self(latents, timestep, 0.0), self(latents, timestep, 1.0)
        found: Array = uncond + np.float32(guidance) * (text - uncond)
        return found


def noises(count: int) -> list[Array]:
    generator = np.random.default_rng(7)
    return [generator.standard_normal(SHAPE, dtype=np.float32) for _ in range(count + 1)]


def ours(schedule: Schedule, model: Model) -> Array:
    noise = noises(schedule.num_inference_steps)
    latents: Array = noise[0] * np.float32(schedule.init_noise_sigma)
    history = None
    for index, timestep in enumerate(schedule.timesteps):
        output = model(latents, float(timestep))
        latents, history = step(schedule, index, latents, output, history, noise[index + 1])
    assert latents.dtype == np.float32
    return latents


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Theirs:
    """Run diffusers' scheduler of a name: (name, settings, steps, model) → final latents."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")

    def run(name: str, settings: SchedulerSettings, count: int, model: Model) -> Array:
        scheduler = reference(diffusers, name, settings)
        waiting = noises(count)
        first = torch.from_numpy(waiting.pop(0))
        for module in ("euler_ancestral_discrete", "lcm"):
            monkeypatch.setattr(
                f"diffusers.schedulers.scheduling_{module}.randn_tensor",
                lambda *_, **__: torch.from_numpy(waiting.pop(0)),
            )
        set_timesteps(scheduler, name, settings, count)
        latents = first * getattr(scheduler, "init_noise_sigma", 1.0)
        for timestep in scheduler.timesteps:
            scaled = latents
            if hasattr(scheduler, "scale_model_input"):
                scaled = scheduler.scale_model_input(latents, timestep)
            output = torch.from_numpy(model(scaled.numpy(), float(timestep)))
            latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
        result: Array = latents.numpy()
        return result

    return run


def reference(diffusers: Any, name: str, settings: SchedulerSettings) -> Any:
    kind, options = DIFFUSERS[name]
    config: dict[str, object] = {"num_train_timesteps": settings.num_train_timesteps}
    if name == "flow_match_euler":
        config["shift"] = settings.shift
    else:
        config |= {
            "prediction_type": settings.prediction_type,
            "beta_schedule": settings.beta_schedule,
            "beta_start": settings.beta_start,
            "beta_end": settings.beta_end,
            "timestep_spacing": settings.timestep_spacing,
            "steps_offset": settings.steps_offset,
        }
    if name == "flow_dpmpp_2m":
        config |= {"prediction_type": "flow_prediction", "flow_shift": settings.shift}
    return getattr(diffusers, kind)(**config, **options)


def set_timesteps(scheduler: Any, name: str, settings: SchedulerSettings, count: int) -> None:
    if name == "flow_match_euler" and settings.timestep_spacing == "trailing":
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / count, count))
    else:
        scheduler.set_timesteps(count)


def relative_error(found: Array, wanted: Array) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def cases() -> list[tuple[str, SchedulerSettings]]:
    found = []
    for prediction_type in ("epsilon", "v_prediction", "sample"):
        for name in compatible(prediction_type):
            if (name, prediction_type) == ("euler_ancestral", "sample"):
                continue  # diffusers has no such pair; `test_prediction_types_agree` holds it
            for spacing in spacings(name):
                found.append((name, trained(prediction_type, timestep_spacing=spacing)))
    for name in compatible("flow"):
        for shift in (1.0, 3.0):
            for spacing in spacings(name):
                found.append((name, trained("flow", timestep_spacing=spacing, shift=shift)))
    return found


def spacings(name: str) -> tuple[str, ...]:
    if name in ("lcm", "dpmpp_2m_karras", "flow_dpmpp_2m"):
        return ("leading",)  # have a spacing of their own
    if name in ("ddim", "flow_match_euler"):
        return ("leading", "trailing")
    return ("leading", "trailing", "linspace")


def counts(name: str, settings: SchedulerSettings) -> Iterator[int]:
    for count in STEPS:
        if settings.timestep_spacing == "linspace" and name != "dpmpp_2m" and count == 1:
            continue  # starts at timestep 0, where nothing is left to denoise
        if (name, settings.timestep_spacing) == ("ddim", "trailing") and 1000 % count:
            continue  # diffusers steps to another timestep there than the one it visits next
        yield count


def ids(case: tuple[str, SchedulerSettings]) -> str:
    name, settings = case
    return f"{name}-{settings.prediction_type}-{settings.timestep_spacing}-{settings.shift:g}"


@pytest.mark.parametrize("case", cases(), ids=ids)
def test_gate(case: tuple[str, SchedulerSettings], theirs: Theirs) -> None:
    name, settings = case
    model = Denoiser(settings).guided
    for count in counts(name, settings):
        schedule = make_schedule(name, settings, count)
        error = relative_error(ours(schedule, model), theirs(name, settings, count, model))
        print(f"GATE {ids(case)} {count} {error:.2e}")
        assert error <= GATE, f"{count} steps: {error:.2e}"


@pytest.mark.parametrize("beta_schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("name", ["dpmpp_2m", "ddim"])
def test_gate_of_beta_schedules(name: str, beta_schedule: str, theirs: Theirs) -> None:
    settings = trained("v_prediction", beta_schedule=beta_schedule)
    model = Denoiser(settings).guided
    error = relative_error(ours(make_schedule(name, settings, 20), model), theirs(name, settings, 20, model))
    assert error <= GATE


def changed(schedule: Schedule, column: int, values: object) -> Schedule:
    coefficients = schedule.coefficients.copy()
    coefficients[:, column] = values
    return replace(schedule, coefficients=coefficients)


def without_second_order(settings: SchedulerSettings, count: int) -> Schedule:
    right = make_schedule("dpmpp_2m", settings, count)
    return changed(changed(right, 3, right.coefficients[:, 3] + right.coefficients[:, 4]), 4, 0.0)


WRONG: dict[str, Callable[[SchedulerSettings, Denoiser], tuple[Schedule, Model]]] = {
    "guidance 2.99": lambda s, d: (make_schedule("dpmpp_2m", s, 20), lambda x, t: d.guided(x, t, 2.99)),
    "guidance 1": lambda s, d: (make_schedule("dpmpp_2m", s, 20), lambda x, t: d.guided(x, t, 1.0)),
    "cond and uncond swapped": lambda s, d: (
        make_schedule("dpmpp_2m", s, 20),
        lambda x, t: d(x, t, 1.0) + np.float32(GUIDANCE) * (d(x, t, 0.0) - d(x, t, 1.0)),
    ),
    "steps_offset 0": lambda s, d: (
        make_schedule("dpmpp_2m", s.model_copy(update={"steps_offset": 0}), 20),
        d.guided,
    ),
    "no second-order term": lambda s, d: (without_second_order(s, 20), d.guided),
    "Karras sigmas": lambda s, d: (make_schedule("dpmpp_2m_karras", s, 20), d.guided),
    "linear betas": lambda s, d: (
        make_schedule("dpmpp_2m", s.model_copy(update={"beta_schedule": "linear"}), 20),
        d.guided,
    ),
    "trailing timesteps": lambda s, d: (
        make_schedule("dpmpp_2m", s.model_copy(update={"timestep_spacing": "trailing"}), 20),
        d.guided,
    ),
    "another scheduler": lambda s, d: (make_schedule("ddim", s, 20), d.guided),
    "the timestep of the step before": lambda s, d: (
        make_schedule("dpmpp_2m", s, 20),
        lambda x, t: d.guided(x, min(t + 47.0, 941.0)),
    ),
    "float16 model output": lambda s, d: (
        make_schedule("dpmpp_2m", s, 20),
        lambda x, t: d.guided(x, t).astype(np.float16).astype(np.float32),
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_gate_catches(mistake: str, theirs: Theirs) -> None:
    settings = trained()
    denoiser = Denoiser(settings)
    wanted = theirs("dpmpp_2m", settings, 20, denoiser.guided)
    error = relative_error(ours(*WRONG[mistake](settings, denoiser)), wanted)
    print(f"NEGATIVE {mistake}: {error:.1e}")
    assert error > GATE


def test_gate_catches_missing_noise(theirs: Theirs) -> None:
    for name in ("euler_ancestral", "lcm"):
        settings = trained()
        model = Denoiser(settings).guided
        wanted = theirs(name, settings, 10, model)
        silent = changed(make_schedule(name, settings, 10), 5, 0.0)
        assert relative_error(ours(silent, model), wanted) > GATE


def test_gate_catches_first_noise_of_wrong_scale(theirs: Theirs) -> None:
    settings = trained(timestep_spacing="trailing")
    model = Denoiser(settings).guided
    wanted = theirs("euler", settings, 10, model)
    loud = replace(make_schedule("euler", settings, 10), init_noise_sigma=1.0)
    assert relative_error(ours(loud, model), wanted) > GATE


@pytest.mark.parametrize("name", compatible("epsilon"))
def test_prediction_types_agree(name: str) -> None:
    """The same denoiser, said in three ways, draws the same picture."""
    finals = []
    for prediction_type in ("epsilon", "v_prediction", "sample"):
        settings = trained(prediction_type)
        finals.append(ours(make_schedule(name, settings, 10), Denoiser(settings).guided))
    gate = 1e-3 if name == "dpmpp_2m_karras" else GATE  # it rounds timesteps away from its levels
    assert relative_error(finals[1], finals[0]) <= gate
    assert relative_error(finals[2], finals[0]) <= gate


def gaussian_error(name: str, count: int, spread: float = 0.8) -> float:
    """Relative error of the final latents for data ~ N(0, spread**2), whose exact ODE answer is known."""
    schedule = make_schedule(name, trained("sample", timestep_spacing="linspace"), count)
    start = np.full(SHAPE, 1.0, np.float32)
    latents, history = start, None
    for index in range(count):
        alpha, sigma = schedule.alpha[index], schedule.sigma[index]
        clean = latents * np.float32(alpha * spread**2 / ((alpha * spread) ** 2 + sigma**2))
        latents, history = step(schedule, index, latents, clean, history, None)
    exact = spread / np.sqrt((schedule.alpha[0] * spread) ** 2 + schedule.sigma[0] ** 2)
    return abs(float(latents.flat[0]) / float(exact) - 1.0)


def test_euler_converges_as_the_paper_says() -> None:
    errors = [gaussian_error("euler_karras", count) for count in (10, 20, 50, 200)]
    assert errors == pytest.approx([0.160, 0.080, 0.032, 0.0085], rel=0.02)


def test_dpmpp_2m_is_of_second_order() -> None:
    coarse, fine = (gaussian_error("dpmpp_2m_karras", count) for count in (10, 20))
    assert coarse / fine > 3.5
    assert fine < 0.3 * gaussian_error("euler_karras", 20)


@given(
    count=st.integers(1, 50),
    prediction_type=st.sampled_from(["epsilon", "v_prediction", "sample", "flow"]),
    spacing=st.sampled_from(["leading", "trailing", "linspace"]),
    shift=st.floats(0.5, 8.0),
)
@settings(max_examples=60)
def test_tables_are_sound(count: int, prediction_type: str, spacing: str, shift: float) -> None:
    for name in compatible(prediction_type):
        settings = trained(prediction_type, timestep_spacing=spacing, shift=shift)
        schedule = make_schedule(name, settings, count)
        assert schedule.timesteps.shape == (count,)
        assert schedule.timesteps.dtype == np.float32
        assert schedule.alpha.shape == schedule.sigma.shape == (count + 1,)
        assert (schedule.alpha[-1], schedule.sigma[-1]) == (1.0, 0.0)
        assert np.isfinite(schedule.coefficients).all()
        assert (np.diff(schedule.timesteps) < (0 if name in ("euler", "ddim", "lcm") else 1)).all()
        assert ((schedule.timesteps >= 0) & (schedule.timesteps <= 1000)).all()
        assert (np.diff(schedule.sigma) < 0).all()
        last = schedule.coefficients[-1, 2:]
        assert last == pytest.approx([0, 1, 0, 0], abs=1e-4), "the last step ends on the denoised latents"


def test_a_step_that_lacks_something_says_so() -> None:
    latents = np.ones(SHAPE, np.float32)
    with pytest.raises(ValueError, match="needs noise"):
        step(make_schedule("euler_ancestral", trained(), 4), 0, latents, latents, None, None)
    with pytest.raises(ValueError, match="needs history"):
        step(make_schedule("dpmpp_2m", trained(), 4), 1, latents, latents, None, None)


def test_wrong_wishes() -> None:
    with pytest.raises(BadInput, match="choose one of flow_match_euler"):
        make_schedule("ddim", trained("flow"), 4)
    with pytest.raises(BadInput, match="does not fit"):
        make_schedule("nonsense", trained(), 4)
    with pytest.raises(BadInput, match="steps must be 1 to 1000"):
        make_schedule("euler", trained(), 0)
    with pytest.raises(BadInput, match="1 to 50 steps"):
        make_schedule("lcm", trained(), 51)
