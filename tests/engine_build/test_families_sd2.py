"""SD 2.x and SD-Turbo: the latents are those of diffusers' own pipeline from the same noise (exported.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from appliance.engines.onnxruntime import OnnxRuntime
from appliance.pipeline.manifest import PictureCheck as Preparation
from appliance.pipeline.picture_check import PictureCheck, prepared
from appliance.pipeline.tokenizer import Tokenizer
from engine_build import bundle as builder
from engine_build import onnx_export
from engine_build.bundle import Choices
from engine_build.parity import relative_error
from engine_build.scheduler import settings_from
from engine_build.source import Source
from engine_build.source_folder import as_diffusers
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
def sd2(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its text encoder's keys begin with `text_model.`, as in every folder published before transformers 5."""
    place = tmp_path_factory.mktemp("sd2")
    with onnx_export.quiet():
        folder = family_folders.make_sd2_folder(place / "tiny sd2")
    path = folder / "text_encoder" / "model.safetensors"
    tensors = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    return export(Source.open(folder), place / "sd2", Choices("float32", "f16", preview=False))


@pytest.mark.parametrize(
    ("name", "prediction"), [("euler", "v_prediction"), ("dpmpp_2m", "v_prediction"), ("euler", "epsilon")]
)
def test_sd_draws_what_diffusers_draws(sd2: Exported, name: str, prediction: str) -> None:
    """With epsilon it stands for SD 1.x too; a guidance of 6.9 for 7, or the other prediction, is found out."""
    bundle = with_scheduler(sd2.bundle, prediction_type=prediction)
    wish = request(bundle, negative="a cat", scheduler=name, guidance=7.0)
    first, last = ours(bundle, wish)
    scheduler = getattr(library(), {"euler": "EulerDiscreteScheduler", "dpmpp_2m": "DPMSolverMultistepScheduler"}[name])

    def error(guidance: float, prediction: str) -> float:
        arguments = {"prompt": wish.prompt, "negative_prompt": "a cat", "guidance_scale": guidance}
        want = theirs(sd2.bundle, scheduler, first, **arguments, config={"prediction_type": prediction})
        return relative_error(last.latents[None], want)

    assert error(7.0, prediction) < GATE
    assert error(6.9, prediction) > GATE
    assert error(7.0, "epsilon" if prediction == "v_prediction" else "v_prediction") > GATE


def test_float32_weights_lose_nothing(sd2: Exported) -> None:
    for report in sd2.report["components"]:
        assert report["error"] == report["error_from_original"] <= 5e-5


def test_without_a_card_the_configs_speak(sd2: Exported) -> None:
    manifest = sd2.bundle.manifest
    assert (manifest.family, manifest.name) == ("sd", "tiny-sd2")
    assert manifest.sizes == [[16, 16]]
    assert manifest.defaults.guidance == 7.5
    assert manifest.latents.scaling_factor == 0.18215
    assert (manifest.scheduler.allowed[0], manifest.scheduler.prediction_type) == ("ddim", "v_prediction")
    assert manifest.preview is None


def test_old_tokenizer_files_are_converted(sd2: Exported) -> None:
    with onnx_export.quiet():
        from transformers import CLIPTokenizer

        theirs = CLIPTokenizer.from_pretrained(str(sd2.source.folder / "tokenizer"), local_files_only=True)
    ours = Tokenizer(sd2.bundle)
    for words in ("a red dog", "dog", "the  Dog on a mountain in the rain"):
        length = sd2.bundle.manifest.tokenizer.max_length
        want = theirs(words, padding="max_length", truncation=True, max_length=length)
        assert ours(words).token_ids[0].tolist() == want.input_ids


def test_sd_turbo_is_the_same_networks_in_one_step(sd2: Exported) -> None:
    turbo = with_scheduler(sd2.bundle, prediction_type="epsilon", timestep_spacing="trailing")
    first, last = ours(turbo, request(turbo, steps=1, guidance=1.0, scheduler="euler"))
    config = {"prediction_type": "epsilon", "timestep_spacing": "trailing"}
    euler = library().EulerDiscreteScheduler
    want = theirs(sd2.bundle, euler, first, prompt="a red dog", guidance_scale=0.0, config=config)
    assert relative_error(last.latents[None], want) < GATE


@pytest.mark.parametrize(
    ("scheduler", "usual"),
    [
        (
            {
                "_class_name": "EulerDiscreteScheduler",
                "timestep_spacing": "trailing",
                "prediction_type": "epsilon",
            },
            (1, 1.0),
        ),
        ({"_class_name": "LCMScheduler"}, (4, 1.0)),
        ({}, (20, 7.5)),
    ],
)
def test_a_distilled_model_is_drawn_in_few_steps(
    sd2: Exported, scheduler: dict[str, str], usual: tuple[int, float]
) -> None:
    source = sd2.source
    settings = settings_from({**source.scheduler, **scheduler})
    defaults = builder._defaults(source, settings)
    assert (defaults.steps, defaults.guidance) == usual


def test_the_encoder_gives_the_posteriors_mean(sd2: Exported) -> None:
    """image → latents; and a picture that goes through both networks keeps its shape."""
    import torch

    with onnx_export.quiet():
        vae = library().AutoencoderKL.from_pretrained(str(sd2.source.folders["vae"]), local_files_only=True)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 12, 16)).astype(np.float32)
    latents = OnnxRuntime().load(sd2.bundle, "vae_encoder").run({"image": image})["latents"]
    want = vae.encode(torch.from_numpy(image)).latent_dist.mean.detach().numpy()
    assert latents.shape == (1, 4, 6, 8)
    assert relative_error(latents, want) < GATE
    back = OnnxRuntime().load(sd2.bundle, "vae_decoder").run({"latents": latents})["image"]
    assert back.shape == image.shape


@needs_rtx
def test_every_network_of_sd2_is_taken_by_tensorrt_for_rtx(sd2: Exported, tmp_path: Path) -> None:
    taken_by_rtx(sd2.bundle, tmp_path)


def test_the_safety_checker_says_what_diffusers_own_says(sd2: Exported) -> None:
    """Scores as `forward` reckons them, flags by its own `forward_onnx`; without special care the scores are others.

    The weights are random: it proves the arithmetic, not that anything unfit for children is found.
    """
    import torch
    from diffusers.pipelines.stable_diffusion import safety_checker

    distance: Any = safety_checker.cosine_distance

    with onnx_export.quiet(), as_diffusers(sd2.bundle.folder) as source:
        model = library().StableDiffusionPipeline.from_pretrained(str(source), local_files_only=True).safety_checker
    given = np.random.default_rng(3).standard_normal((40, 3, family_folders.SEEN, family_folders.SEEN), np.float32)
    given[:20] *= np.linspace(0, 3, 20, dtype=np.float32)[:, None, None, None]
    ours = OnnxRuntime().load(sd2.bundle, "safety_checker").run({"clip_input": given})["score"]
    with torch.no_grad():
        embeds = model.visual_projection(model.vision_model(torch.from_numpy(given))[1])
        special = (distance(embeds, model.special_care_embeds) - model.special_care_embeds_weights).numpy()
        scores = (distance(embeds, model.concept_embeds) - model.concept_embeds_weights).numpy().max(axis=1)
    cared = (special > 0).any(axis=1)
    _, flagged = model.forward_onnx(torch.from_numpy(given), torch.zeros(40, 3, 2, 2))
    assert relative_error(ours, scores + 0.01 * cared) < GATE
    assert relative_error(ours, scores) > GATE
    assert 0 < cared.sum() < 40
    assert np.array_equal(ours > 0, flagged.numpy())
    assert 0 < flagged.sum() < 40


@pytest.mark.parametrize("size", [(16, 16), (96, 64), (64, 100), (333, 512)])
def test_a_picture_is_prepared_as_transformers_does(sd2: Exported, size: tuple[int, int]) -> None:
    from transformers import CLIPImageProcessor

    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    with onnx_export.quiet():
        theirs = CLIPImageProcessor.from_pretrained(str(sd2.bundle.folder / "source" / "feature_extractor"))
        want = np.asarray(theirs(pixels, return_tensors="np")["pixel_values"])
    how = sd2.bundle.require_picture_check()
    assert relative_error(prepared(pixels, how), want) < GATE
    wrong = Preparation(**how.model_dump() | {"mean": (0.48, 0.45, 0.42)})
    assert relative_error(prepared(pixels, wrong), want) > GATE


def test_an_exported_checker_looks_at_pixels(sd2: Exported) -> None:
    check = PictureCheck.load(sd2.bundle, OnnxRuntime())
    pictures = np.random.default_rng(2).integers(0, 256, (30, 4, 4, 3), np.uint8)
    found = [check.flags(np.kron(picture, np.ones((16, 16, 1), np.uint8))) for picture in pictures]
    assert 0 < sum(found) < 30
    assert "safety_checker: stays in float32, for its thresholds are finer than float16" in sd2.said
