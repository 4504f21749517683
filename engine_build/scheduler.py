"""scheduler_config.json → `SchedulerSettings`: the noise schedule in the manifest's words."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from appliance.errors import BadInput
from appliance.pipeline.manifest import SchedulerSettings

# diffusers' class → our scheduler. PNDM has no twin here; DPM++ 2M does as well in as many steps.
NAMES = {
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_ancestral",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "DDIMScheduler": "ddim",
    "LCMScheduler": "lcm",
    "PNDMScheduler": "dpmpp_2m",
    "DDPMScheduler": "dpmpp_2m",
    "FlowMatchEulerDiscreteScheduler": "flow_match_euler",
}
KARRAS = ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler")
LINSPACED = (
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
)
UNSUPPORTED = (
    "rescale_betas_zero_snr",
    "trained_betas",
    "use_dynamic_shifting",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "thresholding",
    "invert_sigmas",
    "stochastic_sampling",
)


def settings_from(config: dict[str, Any]) -> SchedulerSettings:
    """Read a diffusers scheduler config. Raises `BadInput` where its meaning would be lost."""
    name = config.get("_class_name")
    if name not in NAMES:
        raise BadInput(f"The scheduler {str(name)[:60]} is not known: use one of {', '.join(NAMES)}.")
    for key in UNSUPPORTED:
        if config.get(key):
            raise BadInput(f"The scheduler's {key} is not supported: train or save the model without it.")
    try:
        return _flow(config) if name == "FlowMatchEulerDiscreteScheduler" else _diffusion(config, name)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"scheduler_config.json: {where}: {first['msg']}.") from None


def _flow(config: dict[str, Any]) -> SchedulerSettings:
    return SchedulerSettings(
        prediction_type="flow",
        num_train_timesteps=config.get("num_train_timesteps", 1000),
        timestep_spacing="linspace",
        steps_offset=0,
        shift=config.get("shift", 1.0),
        allowed=_allowed("flow", "flow_match_euler"),
    )


def _diffusion(config: dict[str, Any], name: str) -> SchedulerSettings:
    """Absent keys mean what they mean in diffusers."""
    prediction_type = config.get("prediction_type", "epsilon")
    karras = name in KARRAS and config.get("use_karras_sigmas")
    return SchedulerSettings(
        prediction_type=prediction_type,
        num_train_timesteps=config.get("num_train_timesteps", 1000),
        beta_schedule=config.get("beta_schedule", "linear"),
        beta_start=config.get("beta_start", 0.0001),
        beta_end=config.get("beta_end", 0.02),
        timestep_spacing=config.get("timestep_spacing", "linspace" if name in LINSPACED else "leading"),
        steps_offset=config.get("steps_offset", 0),
        allowed=_allowed(prediction_type, f"{NAMES[name]}_karras" if karras else NAMES[name]),
    )


def _allowed(prediction_type: str, first: str) -> list[str]:
    """What the pipeline can do with this prediction type, the model's own scheduler first."""
    from appliance.pipeline import schedulers

    names = list(schedulers.compatible(prediction_type))
    return [first, *(name for name in names if name != first)]
