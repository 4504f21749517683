"""Denoising is a value: guidance, noise, and resuming bit for bit."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.errors import BadInput
from appliance.pipeline.denoise import (
    DenoiseState,
    Feeds,
    Noise,
    advance,
    begin,
    checkpoint,
    feeds,
    guide,
    resume,
)
from appliance.pipeline.manifest import SchedulerSettings
from appliance.pipeline.schedulers import compatible, make_schedule

SHAPE = (4, 8, 6)
ALL = [(kind, name) for kind in ("epsilon", "flow") for name in compatible(kind)]


def start(
    kind: str = "flow",
    name: str = "flow_match_euler",
    steps: int = 5,
    seed: int = 1,
    rows: int = 2,
    label: str = "a red apple",
) -> DenoiseState:
    trained = SchedulerSettings.model_validate({"prediction_type": kind, "allowed": [name]})
    embeds = np.linspace(-1, 1, rows * 6, dtype=np.float32).reshape(rows, 3, 2)
    return begin(make_schedule(name, trained, steps), embeds, 3.0, seed, SHAPE, label)


def network(fed: Feeds) -> NDArray[np.float32]:
    """Any smooth function of all that is fed."""
    words = fed.prompt_embeds.mean(axis=(1, 2))[:, None, None, None]
    times = (fed.timestep / 1000)[:, None, None, None]
    answer: NDArray[np.float32] = np.tanh(fed.sample + words + times)
    return answer


def run(state: DenoiseState) -> DenoiseState:
    while not state.done:
        state = advance(state, network(feeds(state)))
    return state


def same(one: DenoiseState, other: DenoiseState) -> bool:
    return one.step == other.step and one.latents.tobytes() == other.latents.tobytes()


def test_feeds_are_what_the_unet_takes() -> None:
    fed = feeds(start())
    assert (fed.sample.shape, fed.timestep.shape, fed.prompt_embeds.shape) == ((2, *SHAPE), (2,), (2, 3, 2))
    assert {fed.sample.dtype, fed.timestep.dtype, fed.prompt_embeds.dtype} == {np.dtype(np.float32)}
    assert feeds(start(rows=1)).sample.shape == (1, *SHAPE)


def test_guidance_puts_the_negative_prompt_first() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 1.0]], np.float32)
    assert guide(rows, 3.0).tolist() == [7.0, -1.0]
    assert guide(rows[1:], 3.0).tolist() == [3.0, 1.0]


def test_guidance_of_one_is_no_guidance() -> None:
    guided = replace(start(rows=2), guidance_scale=1.0)
    alone = replace(start(rows=1), prompt_embeds=guided.prompt_embeds[1:])
    assert np.allclose(run(guided).latents, run(alone).latents, atol=1e-6)


def test_a_step_changes_nothing_but_the_new_value() -> None:
    state = start()
    before = state.latents.copy()
    after = advance(state, network(feeds(state)))
    assert (state.step, after.step) == (0, 1)
    assert state.history is None
    assert after.history is not None
    assert np.array_equal(state.latents, before)
    with pytest.raises(FrozenInstanceError):
        state.step = 3  # type: ignore[misc]


def test_latents_stay_float32() -> None:
    for kind, name in ALL:
        final = run(start(kind, name))
        assert final.latents.dtype == np.float32
        assert final.history is not None
        assert final.history.dtype == np.float32


def test_noise_is_pinned() -> None:
    """Same seed, same picture, on every machine: a NumPy that changes its stream is noticed here."""
    noise = Noise(7)
    assert noise.at(0, (3,)).tolist() == pytest.approx(NOISE_7_0, abs=1e-6)
    assert noise.at(1, (3,)).tolist() == pytest.approx(NOISE_7_1, abs=1e-6)


NOISE_7_0 = [-0.293339, 1.7038306, 1.5391918]
NOISE_7_1 = [-0.5934703, 1.547825, -0.5029522]


@given(seed=st.integers(0, 2**32 - 1), step=st.integers(0, 50))
@settings(max_examples=30)
def test_noise_is_standard_normal_and_depends_on_seed_and_step(seed: int, step: int) -> None:
    found = Noise(seed).at(step, (64, 64))
    assert found.dtype == np.float32
    assert abs(found.mean()) < 0.1
    assert abs(found.std() - 1) < 0.1
    assert np.array_equal(found, Noise(seed).at(step, (64, 64)))
    assert abs(np.corrcoef(found.ravel(), Noise(seed).at(step + 1, (4096,)))[0, 1]) < 0.1
    assert abs(np.corrcoef(found.ravel(), Noise(seed ^ 1).at(step, (4096,)))[0, 1]) < 0.1


@given(
    which=st.sampled_from(ALL),
    steps=st.integers(1, 9),
    cut=st.integers(0, 9),
    rows=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80)
def test_resuming_is_bit_identical(which: tuple[str, str], steps: int, cut: int, rows: int, seed: int) -> None:
    first = start(*which, steps=steps, rows=rows, seed=seed)
    state = first
    for _ in range(min(cut, steps)):
        state = advance(state, network(feeds(state)))
    resumed = resume(start(*which, steps=steps, rows=rows, seed=seed), checkpoint(state))
    assert same(resumed, state)
    assert same(run(resumed), run(first))


@pytest.mark.parametrize(
    "other",
    [
        start(seed=2),
        start(steps=6),
        start(rows=1),
        start(label="a green pear"),
        start(name="flow_dpmpp_2m"),
        replace(start(), guidance_scale=2.0),
        replace(start(), latents=np.zeros((4, 6, 8), np.float32)),
    ],
    ids=["seed", "steps", "rows", "words", "scheduler", "guidance", "size"],
)
def test_the_checkpoint_of_another_picture_is_refused(other: DenoiseState) -> None:
    with pytest.raises(BadInput, match="another picture"):
        resume(other, checkpoint(advance(start(), network(feeds(start())))))


@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_checkpoint_is_refused(data: st.DataObject) -> None:
    kept = checkpoint(advance(start(), network(feeds(start()))))
    spot = data.draw(st.integers(0, len(kept) - 1))
    flipped = bytearray(kept)
    flipped[spot] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(flipped), kept[:spot], kept + b"x", b""):
        with pytest.raises(BadInput):
            resume(start(), damaged)
