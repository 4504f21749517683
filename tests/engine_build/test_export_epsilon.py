"""An epsilon model with AutoencoderKL, float32 storage and CLIP's old tokenizer files, held to diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.pipeline.tokenizer import Tokenizer
from appliance.request import GenerationRequest
from engine_build import bundle as builder
from engine_build import onnx_export
from engine_build.parity import relative_error
from engine_build.source import Source

pytestmark = pytest.mark.timeout(900)  # an export is half a minute of work, longer beside a training run


@pytest.fixture(scope="module")
def exported(epsilon_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("bundles") / "epsilon"
    source = Source.open(epsilon_folder)
    return out, builder.export(source, out, "float32", lambda line: None, preview=False)


def test_float32_weights_lose_nothing(exported: tuple[Path, dict[str, Any]]) -> None:
    for report in exported[1]["components"]:
        assert report["error"] == report["error_from_original"] <= 1e-5


def test_without_a_card_the_configs_speak(exported: tuple[Path, dict[str, Any]]) -> None:
    manifest = Bundle.open(exported[0]).manifest
    assert manifest.name == "tiny-epsilon"
    assert manifest.sizes == [[16, 16]]
    assert manifest.defaults.guidance == 7.5
    assert manifest.latents.scaling_factor == 0.18215
    assert manifest.scheduler.allowed[0] == "dpmpp_2m"
    assert manifest.preview is None


def test_old_tokenizer_files_are_converted(exported: tuple[Path, dict[str, Any]], epsilon_folder: Path) -> None:
    with onnx_export.quiet():
        from transformers import CLIPTokenizer

        theirs = CLIPTokenizer.from_pretrained(str(epsilon_folder / "tokenizer"), local_files_only=True)
    manifest = Bundle.open(exported[0]).manifest
    ours = Tokenizer(Bundle.open(exported[0]))
    for words in ("a red dog", "dog", "the  Dog on a mountain in the rain"):
        want = theirs(words, padding="max_length", truncation=True, max_length=manifest.tokenizer.max_length)
        assert ours(words).token_ids[0].tolist() == want.input_ids


def test_the_whole_way_agrees_with_diffusers(exported: tuple[Path, dict[str, Any]]) -> None:
    """Same words, noise, steps and guidance: relative L2 error of the final latents (facts/export.md's gate)."""
    pipeline = TextToImage.load(Bundle.open(exported[0]))
    fields = {"prompt": "a red dog", "negative_prompt": "cat", "seed": 5, "steps": 6, "scheduler": "euler"}
    request = GenerationRequest.of(fields, pipeline.bundle.manifest.offer())
    first = pipeline.start(request)
    *_, last = pipeline.denoise(request)
    want = theirs(exported[0] / "source", request, first.latents)
    assert relative_error(last.latents[None], want) < 1e-5
    wrong = theirs(exported[0] / "source", request.model_copy(update={"guidance": 7.4}), first.latents)
    assert relative_error(last.latents[None], wrong) > 1e-5


def theirs(folder: Path, request: GenerationRequest, latents: Any) -> Any:
    """diffusers' final latents (1, 4, h, w)."""
    import torch

    with onnx_export.quiet():
        import diffusers

        library: Any = diffusers
        pipeline = library.StableDiffusionPipeline.from_pretrained(str(folder), local_files_only=True)
        pipeline.scheduler = library.EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler.set_timesteps(request.steps)
        answer = pipeline(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            guidance_scale=request.guidance,
            num_inference_steps=request.steps,
            height=request.height,
            width=request.width,
            latents=torch.from_numpy(np.ascontiguousarray(latents[None])),
            output_type="latent",
        )
    return answer.images.numpy()
