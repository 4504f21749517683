"""SDXL and SDXL-Turbo: the latents are those of diffusers' own pipeline from the same noise (exported.py)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx
import pytest

from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import BadInput
from appliance.pipeline.denoise import feeds
from appliance.pipeline.text_to_image import TextToImage
from engine_build import families, onnx_export
from engine_build.bundle import Choices
from engine_build.parity import relative_error
from engine_build.source import Source
from tests.engine_build import family_folders
from tests.engine_build.conftest import library
from tests.engine_build.exported import (
    GATE,
    Exported,
    export,
    needs_rtx,
    ours,
    request,
    taken_by_rtx,
    theirs,
    with_scheduler,
)

pytestmark = pytest.mark.timeout(900)  # an export is half a minute of work, longer beside other work


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    place = tmp_path_factory.mktemp("sdxl")
    with onnx_export.quiet():
        folder = family_folders.make_sdxl_folder(place / "tiny sdxl")
    return export(Source.open(folder), place / "sdxl", Choices("float16", "f16", preview=False))


def test_sdxl_is_recognised_and_declared(sdxl: Exported) -> None:
    manifest = sdxl.bundle.manifest
    assert manifest.family == "sdxl"
    assert manifest.force_zeros_for_empty_prompt
    assert [tensor.name for tensor in manifest.components["unet"].inputs[3:]] == ["text_embeds", "time_ids"]
    assert [tensor.name for tensor in manifest.components["text_encoder_2"].outputs] == ["prompt_embeds", "text_embeds"]
    assert manifest.tokenizer_2 is not None
    assert manifest.tokenizer_2.pad_token_id == 0 != manifest.tokenizer.pad_token_id
    assert manifest.latents.scaling_factor == 0.13025


@pytest.mark.parametrize("negative", ["", "a cat"])
def test_sdxl_draws_what_diffusers_draws(sdxl: Exported, negative: str) -> None:
    """Nothing to steer away from is zeros in both; diffusers says it as None."""
    wish = request(sdxl.bundle, negative=negative, scheduler="euler", guidance=6.0)
    first, last = ours(sdxl.bundle, wish)
    euler = library().EulerDiscreteScheduler

    def error(**changes: Any) -> float:
        arguments = {"prompt": wish.prompt, "negative_prompt": negative or None, "guidance_scale": 6.0}
        return relative_error(last.latents[None], theirs(sdxl.bundle, euler, first, **(arguments | changes)))

    assert error() < GATE
    assert error(original_size=(15, 16)) > GATE
    assert error(guidance_scale=5.9) > GATE
    if not negative:
        assert error(negative_prompt="") > GATE
    else:
        assert error(prompt_2="a red cat") > GATE


def test_sdxl_turbo_is_one_step_without_a_second_row(sdxl: Exported) -> None:
    turbo = with_scheduler(sdxl.bundle, timestep_spacing="trailing")
    first, last = ours(turbo, request(turbo, steps=1, guidance=1.0, scheduler="euler_ancestral"))
    assert first.rows == 1
    ancestral, config = library().EulerAncestralDiscreteScheduler, {"timestep_spacing": "trailing"}
    want = theirs(sdxl.bundle, ancestral, first, prompt="a red dog", guidance_scale=0.0, config=config)
    assert relative_error(last.latents[None], want) < GATE


def test_pictures_of_sdxl_share_a_unet_call(sdxl: Exported) -> None:
    pipeline = TextToImage.load(sdxl.bundle, threads=1)
    wishes = [request(sdxl.bundle, seed=1), request(sdxl.bundle, prompt="dog", guidance=1.0, negative="cat")]
    alone = [pipeline.predict([feeds(pipeline.start(wish))])[0] for wish in wishes]
    together = pipeline.predict([feeds(pipeline.start(wish)) for wish in wishes])
    assert [len(rows) for rows in together] == [2, 1]
    for mine, theirs_ in zip(together, alone, strict=True):
        assert relative_error(mine, theirs_) < 1e-6


def test_the_float16_set_has_the_same_tensors_and_weights(sdxl: Exported) -> None:
    """`check_float16` held it to torch at export; here: what an engine gets to read."""
    manifest = sdxl.bundle.manifest
    assert {name for name, part in manifest.components.items() if part.f16} == {
        "text_encoder",
        "text_encoder_2",
        "unet",
    }
    for part in manifest.components.values():
        if part.f16:
            assert part.f16 in manifest.files
            graph = onnx.load(str(sdxl.bundle.path(part.f16)), load_external_data=False).graph
            outside = [tensor for tensor in graph.initializer if tensor.external_data]
            assert {tensor.data_type for tensor in outside} == {onnx.TensorProto.FLOAT16}
            inside = [tensor for tensor in graph.initializer if not tensor.external_data]
            assert sum(len(tensor.raw_data) for tensor in inside) < 2048
    OnnxRuntime().load(sdxl.bundle.of_float16(), "unet").close()  # which holds the tensors to the manifest


def test_sdxls_own_vae_stays_in_float32_and_it_is_said(sdxl: Exported) -> None:
    assert "vae_decoder: stays in float32, for SDXL's VAE overflows in float16" in sdxl.said


def test_a_mended_vae_may_be_float16(sdxl: Exported) -> None:
    source = sdxl.source
    mended = dataclasses.replace(
        source, configs={**source.configs, "vae": source.configs["vae"] | {"force_upcast": False}}
    )
    assert {network.name: network.float32_for for network in families.declared("sdxl", mended)}["vae_decoder"] is None


def test_a_refiner_is_refused(sdxl: Exported) -> None:
    source = sdxl.source
    unet = source.configs["unet"] | {"projection_class_embeddings_input_dim": 5 * 8 + family_folders.POOLED}
    refiner = dataclasses.replace(source, configs={**source.configs, "unet": unet})
    with pytest.raises(BadInput, match="refiner"):
        families.declared("sdxl", refiner)


@needs_rtx
def test_every_network_of_sdxl_is_taken_by_tensorrt_for_rtx(sdxl: Exported, tmp_path: Path) -> None:
    taken_by_rtx(sdxl.bundle, tmp_path)
