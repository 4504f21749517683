"""The parts of an export that need no network: weights, scheduler, preview map."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.errors import BadInput
from appliance.pipeline import preview as shown
from appliance.pipeline.denoise import begin
from appliance.pipeline.manifest import SchedulerSettings
from appliance.pipeline.schedulers import make_schedule
from engine_build import onnx_export, preview_fit, weights
from engine_build.parity import relative_error
from engine_build.scheduler import settings_from

RANDOM = np.random.default_rng(0)
STATE = {
    "linear.weight": RANDOM.standard_normal((6, 4)).astype(np.float32),
    "norm.weight": RANDOM.standard_normal(24).astype(np.float32),
    "zero.bias": np.zeros(24, np.float32),
}


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("linear.weight", STATE["linear.weight"], weights.Link("linear.weight", (6, 4))),
        ("val_1", STATE["linear.weight"].T, weights.Link("linear.weight", (6, 4), (1, 0))),
        ("val_2", STATE["norm.weight"][:, None, None], weights.Link("norm.weight", (24, 1, 1))),
        ("zero.bias", STATE["zero.bias"], weights.Link("zero.bias", (24,))),
        ("val_3", np.zeros(24, np.float32), None),
        ("val_4", STATE["norm.weight"] + 1, None),
        ("linear.weight", STATE["linear.weight"] + 1, None),
        ("val_5", STATE["norm.weight"].astype(np.float64), None),
    ],
)
def test_an_initializer_is_found_by_name_or_content(name: str, value: Any, found: weights.Link | None) -> None:
    link = weights.Matcher(STATE).find(name, value)
    assert link == found
    if link is not None and link.perm is not None:
        assert np.array_equal(STATE[link.name].reshape(link.shape).transpose(link.perm), value)


def test_weights_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--weights float32"):
        weights.save({"a": np.array([1e6], np.float32)}, tmp_path / "a.safetensors", "float16")
    weights.save({"a": np.array([1e6], np.float32)}, tmp_path / "a.safetensors", "float32")


@pytest.mark.parametrize(("value", "changes"), [(0.5, False), (0.1, True)])
def test_rounding_tells_whether_there_was_anything_to_round(value: float, changes: bool) -> None:
    import torch

    model = torch.nn.Linear(2, 2)
    for parameter in model.parameters():
        parameter.data.fill_(value)
    assert not onnx_export.round_weights(model, "float32")
    assert onnx_export.round_weights(model, "float16") is changes
    assert not onnx_export.round_weights(model, "float16")


def test_a_flow_scheduler_is_read() -> None:
    settings = settings_from({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    assert (settings.prediction_type, settings.shift) == ("flow", 3.0)
    assert settings.allowed[0] == "flow_match_euler"


@pytest.mark.parametrize(
    ("config", "first"),
    [
        ({"_class_name": "PNDMScheduler"}, "dpmpp_2m"),
        ({"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}, "ddim"),
        ({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True}, "euler_karras"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True}, "dpmpp_2m_karras"),
        ({"_class_name": "LCMScheduler"}, "lcm"),
    ],
)
def test_the_models_own_scheduler_comes_first(config: dict[str, Any], first: str) -> None:
    settings = settings_from(config)
    assert settings.allowed[0] == first
    assert len(set(settings.allowed)) == len(settings.allowed)
    for name in settings.allowed:
        make_schedule(name, settings, 4)


def test_absent_keys_mean_what_diffusers_means() -> None:
    settings = settings_from({"_class_name": "DDIMScheduler"})
    assert (settings.beta_schedule, settings.beta_start, settings.beta_end) == ("linear", 0.0001, 0.02)
    assert (settings.timestep_spacing, settings.steps_offset) == ("leading", 0)


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True},
        {"_class_name": "DDIMScheduler", "beta_schedule": "sigmoid"},
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True},
        {},
    ],
)
def test_a_scheduler_whose_meaning_would_be_lost_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        settings_from(config)


def linear_pictures(patch: int) -> tuple[Any, Any]:
    """Latents, and pictures (scale 4) that a map of this patch explains wholly."""
    latents = RANDOM.standard_normal((8, 16, 4, 6)).astype(np.float32)
    matrix = 0.05 * RANDOM.standard_normal((16, patch * patch * 3))
    blocks = (latents.transpose(0, 2, 3, 1) @ matrix + 0.1).reshape(8, 4, 6, patch, patch, 3)
    small = blocks.transpose(0, 5, 1, 3, 2, 4).reshape(8, 3, 4 * patch, 6 * patch)
    return latents, small.repeat(4 // patch, 2).repeat(4 // patch, 3).astype(np.float32)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_the_preview_finds_the_map_and_its_smallest_patch(patch: int, say: Callable[[str], None]) -> None:
    latents, images = linear_pictures(patch)
    fit = preview_fit.best_fit(latents, images, say)
    assert fit.preview.patch == patch
    assert fit.r2 > 0.999


def test_the_preview_that_is_shown_is_the_one_that_was_fitted(say: Callable[[str], None]) -> None:
    latents, images = linear_pictures(2)
    fit = preview_fit.best_fit(latents, images, say)
    schedule = make_schedule("flow_match_euler", SchedulerSettings(prediction_type="flow", allowed=["x"]), 2)
    embeds = np.zeros((1, 2, 2), np.float32)
    state = begin(schedule, embeds, guidance_scale=1.0, seed=0, shape=latents[0].shape, label="")
    pixels = shown.preview(with_latents(state, latents[0]), fit.preview)
    expected = (images[0, :, ::2, ::2].transpose(1, 2, 0) + 1) * 127.5
    assert np.abs(pixels.astype(np.float64) - expected).max() < 2


def with_latents(state: Any, latents: Any) -> Any:
    return dataclasses.replace(state, latents=latents, history=None)


def test_relative_error_is_infinite_for_what_is_no_number() -> None:
    one = np.ones(3, np.float32)
    assert relative_error(one, one) == 0
    assert relative_error(one * np.nan, one) == float("inf")
    assert relative_error(one[:2], one) == float("inf")
