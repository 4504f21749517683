"""What each family's networks take and give: the names by which the pipeline feeds and reads them."""

from __future__ import annotations

from appliance.errors import BadBundle
from appliance.pipeline import text_encoder, vae_decoder, vae_encoder
from appliance.pipeline.manifest import SAFETY_CHECKER, Bundle, Component, Family

UNET = "unet"
SAMPLE = "sample"
TIMESTEP = "timestep"
ENCODER_HIDDEN_STATES = "encoder_hidden_states"
TEXT_EMBEDS = text_encoder.TEXT_EMBEDS
TIME_IDS = "time_ids"
TIMESTEP_COND = "timestep_cond"
NOISE_PRED = "noise_pred"
CLIP_INPUT = "clip_input"
SCORE = "score"

# What a family's UNet takes beside sample, timestep and encoder_hidden_states
ADDED: dict[Family, tuple[str, ...]] = {
    "sd": (),
    "lcm": (TIMESTEP_COND,),
    "sdxl": (TEXT_EMBEDS, TIME_IDS),
    "sdxl-lcm": (TEXT_EMBEDS, TIME_IDS, TIMESTEP_COND),
}
Needs = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]


def needs(family: Family) -> Needs:
    """component → (inputs, outputs) without which the family cannot draw."""
    ids, embeds = (text_encoder.INPUT_IDS,), text_encoder.PROMPT_EMBEDS
    pools = TEXT_EMBEDS in ADDED[family]
    second: Needs = {text_encoder.SECOND: (ids, (embeds, TEXT_EMBEDS))} if pools else {}
    return {
        text_encoder.NAME: (ids, (embeds,)),
        **second,
        UNET: ((SAMPLE, TIMESTEP, ENCODER_HIDDEN_STATES, *ADDED[family]), (NOISE_PRED,)),
        vae_decoder.NAME: ((vae_decoder.LATENTS,), (vae_decoder.IMAGE,)),
    }


def wanted(bundle: Bundle) -> Needs:
    """The networks to load: those, and a `vae_encoder` where the bundle has one."""
    may_have: Needs = {vae_encoder.NAME: ((vae_encoder.IMAGE,), (vae_encoder.LATENTS,))}
    there = bundle.manifest.components
    return needs(bundle.manifest.family) | {name: sides for name, sides in may_have.items() if name in there}


def check_family(bundle: Bundle) -> None:
    """Hold the manifest to what this pipeline feeds and reads. Raises `BadBundle`."""
    components = bundle.manifest.components
    needed = wanted(bundle)
    if text_encoder.SECOND in needed and bundle.manifest.tokenizer_2 is None:
        raise BadBundle(f"{bundle.folder.name} has no tokenizer_2: export the bundle again.")
    for name, (inputs, outputs) in needed.items():
        if name not in components:
            raise BadBundle(f"{bundle.folder.name} has no {name}: export the bundle again.")
        _check_sides(bundle, name, inputs, outputs)


def check_checker(bundle: Bundle) -> None:
    """The same for the safety checker, which is no part of drawing and loaded only where it is wanted."""
    _check_sides(bundle, SAFETY_CHECKER, (CLIP_INPUT,), (SCORE,))


def _check_sides(bundle: Bundle, name: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    component = bundle.manifest.components[name]
    _check_names(bundle, name, inputs, component)
    if set(outputs) - {tensor.name for tensor in component.outputs}:
        raise BadBundle(f"{bundle.folder.name}: {name} must give {', '.join(outputs)}: export the bundle again.")


def _check_names(bundle: Bundle, name: str, inputs: tuple[str, ...], component: Component) -> None:
    foreign = set(inputs) ^ {tensor.name for tensor in component.inputs}
    if foreign:
        raise BadBundle(
            f"{bundle.folder.name}: {name} must take {', '.join(inputs)} and nothing else "
            f"(see {', '.join(sorted(foreign))}): export the bundle again."
        )
