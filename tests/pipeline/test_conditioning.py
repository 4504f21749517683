"""What a family's UNet is told beside latents and time; the whole way beside diffusers is in tests/engine_build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.errors import BadBundle
from appliance.pipeline.conditioning import condition, guidance_embedding, time_ids
from appliance.pipeline.denoise import advance, begin, checkpoint, feeds, resume
from appliance.pipeline.families import ADDED, check_family
from appliance.pipeline.manifest import Bundle, Component, SchedulerSettings, Tensor, Tokenizer
from appliance.pipeline.schedulers import make_schedule
from appliance.pipeline.text_encoder import Encoded
from tests.tiny_bundles import make_tiny_bundle

UNET = Component(
    file="unet.onnx",
    inputs=[
        Tensor(name="text_embeds", dtype="float32", shape=["batch", 5]),
        Tensor(name="time_ids", dtype="float32", shape=["batch", 6]),
        Tensor(name="timestep_cond", dtype="float32", shape=["batch", 7]),
    ],
    outputs=[],
)


def encoded(value: float) -> Encoded:
    return Encoded(np.full((1, 3, 4), value, np.float32), np.full((1, 5), value, np.float32))


def test_sizes_are_told_height_first() -> None:
    assert time_ids(width=96, height=64).tolist() == [[64, 96, 0, 0, 64, 96]]


@pytest.mark.parametrize("width", [6, 7])
def test_guidance_is_told_in_waves(width: int) -> None:
    waves = guidance_embedding(8.5, width)
    assert (waves.shape, waves.dtype.name) == ((1, width), "float32")
    angles = 7500 * 10000.0 ** (-np.arange(3) / 2)
    assert np.allclose(waves[0, :6], [*np.sin(angles), *np.cos(angles)], atol=1e-3)
    assert not waves[0, 6:].any()
    assert guidance_embedding(1.0, 6).tolist() == [[0, 0, 0, 1, 1, 1]]


def test_all_that_is_told_has_a_row_for_each_prompt_the_negative_first() -> None:
    told = condition([encoded(-1), encoded(1)], (16, 8), 3.0, UNET)
    assert told.prompt_embeds[:, 0, 0].tolist() == [-1, 1]
    assert told.added["text_embeds"][:, 0].tolist() == [-1, 1]
    assert {name: value.shape for name, value in told.added.items()} == {
        "text_embeds": (2, 5),
        "time_ids": (2, 6),
        "timestep_cond": (2, 7),
    }


def test_a_plain_unet_is_told_nothing_more() -> None:
    plain = UNET.model_copy(update={"inputs": []})
    assert not condition([encoded(1)], (16, 8), 3.0, plain).added


def test_what_was_added_lasts_over_steps_and_checkpoints() -> None:
    settings = SchedulerSettings(prediction_type="epsilon", allowed=["euler"])
    told = condition([encoded(-1), encoded(1)], (16, 8), 3.0, UNET)
    schedule = make_schedule("euler", settings, 3)
    start = begin(schedule, told.prompt_embeds, 3.0, 1, (4, 2, 2), "a picture", told.added)
    state = advance(start, np.ones((2, 4, 2, 2), np.float32))
    again = resume(start, checkpoint(state))
    for one in (feeds(state), feeds(again)):
        assert one.added is told.added
    with pytest.raises(TypeError):
        begin(schedule, told.prompt_embeds, 3.0, 1, (4, 2, 2), "").added["x"] = start.latents  # type: ignore[index]


def test_zeros_have_the_prompts_shapes() -> None:
    zeros = encoded(3).zeros()
    assert zeros.text_embeds is not None
    assert (zeros.prompt_embeds.shape, zeros.text_embeds.shape) == ((1, 3, 4), (1, 5))
    assert not zeros.prompt_embeds.any()
    assert replace(encoded(3), text_embeds=None).zeros().text_embeds is None


def altered(folder: Path, **changes: Any) -> Bundle:
    return Bundle.open(make_tiny_bundle(folder, **changes))


@pytest.mark.parametrize("family", [family for family in ADDED if family != "sd"])
def test_a_plain_bundle_is_none_of_the_other_families(tmp_path: Path, family: str) -> None:
    with pytest.raises(BadBundle, match=r"export the bundle again"):
        check_family(altered(tmp_path / "tiny", family=family))


def test_sdxl_without_its_second_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match="no tokenizer_2"):
        check_family(altered(tmp_path / "tiny", family="sdxl"))


def test_a_second_tokenizer_must_be_among_the_files(tmp_path: Path) -> None:
    second = Tokenizer(file="tokenizer_2/tokenizer.json", max_length=8, bos_token_id=0, eos_token_id=1, pad_token_id=2)
    with pytest.raises(BadBundle, match=r"tokenizer_2/tokenizer\.json is not among"):
        altered(tmp_path / "tiny", tokenizer_2=second.model_dump())


def test_what_a_bundle_lacks_leaves_no_trace_in_its_manifest(tmp_path: Path) -> None:
    manifest = altered(tmp_path / "tiny").manifest.model_dump()
    assert not {"tokenizer_2", "force_zeros_for_empty_prompt"} & manifest.keys()
    assert not any("f16" in component for component in manifest["components"].values())
