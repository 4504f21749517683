"""The gate: starting from a picture and painting into one, against diffusers' own pipelines.

The same tiny networks, latents, noise and words on both sides, so what is compared is the way through the steps.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.pipeline.denoise import (
    DenoiseState,
    Noise,
    Original,
    advance,
    begin,
    begin_from,
    checkpoint,
    feeds,
    resume,
)
from appliance.pipeline.manifest import SchedulerSettings
from appliance.pipeline.schedulers import compatible, make_schedule
from tests.pipeline.test_schedulers import reference, relative_error, trained

GATE = 1e-5
SEED = 11
GUIDANCE = 3.0
SIDE = 64  # pixels
STEPS = 6
Array = NDArray[np.float32]
ALL = [
    *(("epsilon", name) for name in compatible("epsilon")),
    ("v_prediction", "dpmpp_2m"),
    *(("flow", name) for name in compatible("flow")),
]


@dataclass
class Parts:
    """Both sides' networks and inputs; `image` in [-1, 1], `mask` 0 or 1, (1, channels, SIDE, SIDE)."""

    torch: Any
    diffusers: Any
    unet: Any
    vae: Any
    image: Any
    mask: Any
    words: Any

    def latents(self) -> Array:
        with self.torch.no_grad():
            found: Array = (self.vae.encode(self.image).latents * self.vae.config.scaling_factor)[0].numpy()
        return found

    def latent_mask(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.mask[0, :, ::8, ::8].numpy() > 0.5
        return found

    def predict(self, state: DenoiseState) -> Array:
        fed = feeds(state)
        sample, timestep, words = (
            self.torch.from_numpy(part.copy()) for part in (fed.sample, fed.timestep, fed.prompt_embeds)
        )
        with self.torch.no_grad():
            found: Array = self.unet(sample, timestep, words, return_dict=False)[0].numpy()
        return found


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(3)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(16,), down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",), mid_block_type="UNetMidBlock2DCrossAttn", cross_attention_dim=12,
        attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip
    vae = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1), num_decoder_blocks=(1, 1, 1, 1), scaling_factor=0.7,
    )  # fmt: skip
    image = torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 16:48, 8:40] = 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny networks: two threads only wait for each other
    yield Parts(torch, diffusers, unet.eval(), vae.eval(), image, mask, torch.randn(2, 5, 12))
    torch.set_num_threads(threads)


Theirs = Callable[[str, SchedulerSettings, float, bool], Array]


@pytest.fixture
def theirs(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Theirs:
    """Final latents of diffusers' pipeline: (scheduler, settings, strength, whether with the mask)."""

    def run(name: str, settings: SchedulerSettings, strength: float, masked: bool) -> Array:
        calls = iter(range(1000))  # the first noise, then one for each step that wants some
        kind = "inpaint" if masked else "img2img"

        def noise(shape: tuple[int, ...], **_: Any) -> Any:
            return parts.torch.from_numpy(Noise(SEED).at(next(calls), tuple(shape[1:]))[None])

        module = f"diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_{kind}"
        monkeypatch.setattr(f"{module}.randn_tensor", noise)
        for scheduler in ("euler_ancestral_discrete", "lcm"):
            monkeypatch.setattr(
                f"diffusers.schedulers.scheduling_{scheduler}.randn_tensor", lambda shape, **_: noise(tuple(shape))
            )
        made = {"img2img": "StableDiffusionImg2ImgPipeline", "inpaint": "StableDiffusionInpaintPipeline"}[kind]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline = getattr(parts.diffusers, made)(
                vae=parts.vae, text_encoder=None, tokenizer=None, unet=parts.unet, scheduler=usable(name, settings),
                safety_checker=None, feature_extractor=None, requires_safety_checker=False,
            )  # fmt: skip
            pipeline.set_progress_bar_config(disable=True)
            more = {"mask_image": parts.mask, "height": SIDE, "width": SIDE} if masked else {}
            answer = pipeline(
                image=parts.image, prompt_embeds=parts.words[1:], negative_prompt_embeds=parts.words[:1],
                strength=strength, num_inference_steps=STEPS, guidance_scale=GUIDANCE, output_type="latent", **more,
            )  # fmt: skip
        found: Array = answer.images[0].numpy()
        return found

    def usable(name: str, settings: SchedulerSettings) -> Any:
        """diffusers' flow scheduler lacks three methods that these pipelines call; they are its own by other names."""
        scheduler = reference(parts.diffusers, name, settings)
        if name == "flow_match_euler":
            scheduler.add_noise = lambda sample, noise, timesteps: scheduler.scale_noise(sample, timesteps, noise)
            scheduler.scale_model_input = lambda sample, timestep: sample
            scheduler.init_noise_sigma = 1.0
        return scheduler

    return run


def start(parts: Parts, name: str, settings: SchedulerSettings, strength: float, masked: bool) -> DenoiseState:
    schedule = make_schedule(name, settings, STEPS, STEPS - int(STEPS * strength))
    latents = parts.latents()
    state = begin(schedule, parts.words.numpy(), GUIDANCE, SEED, latents.shape, "a red apple")
    return begin_from(state, Original(latents, parts.latent_mask() if masked else None))


def run(parts: Parts, state: DenoiseState) -> Array:
    while not state.done:
        state = advance(state, parts.predict(state))
    return state.latents


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_picture_to_start_from(parts: Parts, theirs: Theirs, kind: str, name: str, strength: float) -> None:
    settings = trained(kind)
    found = run(parts, start(parts, name, settings, strength, masked=False))
    assert relative_error(found, theirs(name, settings, strength, False)) < GATE


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize(("kind", "name"), ALL)
def test_painting_into_a_picture(parts: Parts, theirs: Theirs, kind: str, name: str, strength: float) -> None:
    settings = trained(kind)
    found = run(parts, start(parts, name, settings, strength, masked=True))
    assert relative_error(found, theirs(name, settings, strength, True)) < GATE


def test_the_gate_notices_what_is_wrong(parts: Parts, theirs: Theirs) -> None:
    """Another level, another noise, latents unscaled, a whole run's second-order step: each is far beyond the gate."""
    settings = trained("epsilon")
    wanted = theirs("dpmpp_2m", settings, 0.6, False)
    good = start(parts, "dpmpp_2m", settings, 0.6, masked=False)
    assert good.original is not None
    one_later = make_schedule("dpmpp_2m", settings, STEPS, 4)
    uncut = make_schedule("dpmpp_2m", settings, STEPS)
    wrong = {
        "level": begin_from(replace(good, schedule=one_later), good.original),
        "noise": begin_from(replace(good, noise=Noise(SEED + 1)), good.original),
        "scale": begin_from(good, Original(good.original.latents / np.float32(0.7))),
        "order": replace(
            good,
            schedule=replace(good.schedule, coefficients=uncut.coefficients[3:]),
            history=np.zeros_like(good.latents),
        ),
    }
    for what, state in wrong.items():
        assert relative_error(run(parts, state), wanted) > 100 * GATE, what
    masked = theirs("dpmpp_2m", settings, 0.6, True)
    assert relative_error(run(parts, good), masked) > 100 * GATE


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_outside_the_mask_the_latents_end_as_the_originals(parts: Parts, kind: str, name: str) -> None:
    state = start(parts, name, trained(kind), 0.7, masked=True)
    assert state.original is not None
    assert state.original.mask is not None
    outside = np.broadcast_to(~state.original.mask, state.latents.shape)
    final = run(parts, state)
    assert np.allclose(final[outside], state.original.latents[outside], atol=1e-6)
    assert not np.allclose(final[~outside], state.original.latents[~outside], atol=1e-2)


@pytest.mark.parametrize("masked", [False, True])
def test_it_resumes_bit_for_bit(parts: Parts, masked: bool) -> None:
    first = start(parts, "euler_ancestral", trained("epsilon"), 0.8, masked)
    state = first
    for _ in range(2):
        state = advance(state, parts.predict(state))
    resumed = resume(start(parts, "euler_ancestral", trained("epsilon"), 0.8, masked), checkpoint(state))
    assert run(parts, resumed).tobytes() == run(parts, first).tobytes()


@pytest.mark.parametrize("skip", [0, 8, 19])
def test_steps_that_are_skipped_are_the_first(skip: int) -> None:
    schedule = make_schedule("ddim", trained("epsilon"), 20, skip)
    assert (schedule.num_inference_steps, schedule.skipped) == (20 - skip, skip)
    whole = make_schedule("ddim", trained("epsilon"), 20)
    assert np.array_equal(schedule.timesteps, whole.timesteps[skip:])
