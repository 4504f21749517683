"""Tiny folders of each family: the published architecture with small widths and random weights.

SD 2.x    UNet with linear projections and one head count per level, v-prediction:
          stabilityai/stable-diffusion-2-1 (Salimans & Ho 2022, arXiv:2202.00512); SD-Turbo is its UNet with another
          scheduler (Sauer et al. 2023, arXiv:2311.17042)
LCM       SimianLuo/LCM_Dreamshaper_v7: SD 1.x with the guidance embedded (Luo et al. 2023, arXiv:2310.04378)
SDXL      stabilityai/stable-diffusion-xl-base-1.0 (Podell et al. 2023, arXiv:2307.01952, table 1 and section 2.2)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from tests.engine_build.conftest import LENGTH, library, unequal

TRAINED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
WIDTHS = {"text_encoder": 24, "text_encoder_2": 32}
POOLED = 20
SEEN = 32  # pixels on a side that the safety checker is given
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "crop_size": {"height": SEEN, "width": SEEN},
    "size": {"shortest_edge": SEEN},
    "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
    "resample": 3, "rescale_factor": 1 / 255,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip


def make_sd2_folder(folder: Path) -> Path:
    unet = {"use_linear_projection": True, "attention_head_dim": [2, 4], "cross_attention_dim": 24}
    scheduler = library().DDIMScheduler(
        **TRAINED, steps_offset=1, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False
    )
    _save(folder, "StableDiffusionPipeline", unet, scheduler, {"text_encoder": "gelu"})
    return add_safety_checker(folder)


def make_lcm_folder(folder: Path) -> Path:
    unet = {"attention_head_dim": 4, "cross_attention_dim": 24, "time_cond_proj_dim": 16}
    scheduler = library().LCMScheduler(**TRAINED)
    return _save(folder, "LatentConsistencyModelPipeline", unet, scheduler, {"text_encoder": "quick_gelu"})


def make_sdxl_folder(folder: Path, **changes: Any) -> Path:
    """Two levels for its three, the first without attention, one layer deep; `changes` are of the UNet's config."""
    unet = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 1],
        "attention_head_dim": [2, 4],
        "use_linear_projection": True,
        "cross_attention_dim": sum(WIDTHS.values()),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + POOLED,
    }
    scheduler = library().EulerDiscreteScheduler(**TRAINED, steps_offset=1, timestep_spacing="leading")
    activations = {"text_encoder": "quick_gelu", "text_encoder_2": "gelu"}
    return _save(folder, "StableDiffusionXLPipeline", unet | changes, scheduler, activations)


def add_safety_checker(folder: Path) -> Path:
    """A checker of tiny widths whose thresholds lie among its own cosines, so that some pictures pass and some do not.

    Its keys begin with `vision_model.vision_model.`, as in every folder published before transformers 5.
    """
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(4)
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(vision_config={**vision, "image_size": SEEN, "patch_size": 8}, projection_dim=12)
    )
    unequal(checker)
    for embeds in (checker.concept_embeds, checker.special_care_embeds):
        torch.nn.init.normal_(embeds)
    checker.concept_embeds_weights.data.uniform_(0.2, 0.4)
    checker.special_care_embeds_weights.data.uniform_(0.2, 0.25)
    checker.save_pretrained(str(folder / "safety_checker"))
    path = folder / "safety_checker" / "model.safetensors"
    tensors = {
        key.replace("vision_model.", "vision_model.vision_model."): value for key, value in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def make_vae(**changes: Any) -> Any:
    """AutoencoderKL with two levels: latents of half the picture's sides."""
    vae = library().AutoencoderKL(
        latent_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=32,
        **changes,
    )
    unequal(vae)
    return vae


def make_small_vae() -> Any:
    """AutoencoderTiny for the same latents."""
    return library().AutoencoderTiny(
        latent_channels=4,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )


def _save(folder: Path, pipeline: str, unet: dict[str, Any], scheduler: Any, activations: dict[str, str]) -> Path:
    import torch

    torch.manual_seed(2)
    two = len(activations) > 1
    index: dict[str, Any] = {"_class_name": pipeline, "scheduler": ["diffusers", type(scheduler).__name__]}
    _save_unet(folder, unet)
    make_vae(scaling_factor=0.13025 if two else 0.18215, force_upcast=two).save_pretrained(str(folder / "vae"))
    scheduler.save_pretrained(str(folder / "scheduler"))
    index |= {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    for name, activation in activations.items():
        kind = _save_text_encoder(folder / name, WIDTHS[name], activation, projected=name == "text_encoder_2")
        tokenizer = name.replace("text_encoder", "tokenizer")
        _save_tokenizer(folder / tokenizer, pad="!" if name == "text_encoder_2" else "<|endoftext|>")
        index |= {name: ["transformers", kind], tokenizer: ["transformers", "CLIPTokenizer"]}
    if two:
        index["force_zeros_for_empty_prompt"] = True
    else:
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _save_unet(folder: Path, changes: dict[str, Any]) -> None:
    config = {
        "sample_size": 8,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "norm_num_groups": 4,
    }
    unet = library().UNet2DConditionModel(**(config | changes))
    unequal(unet)
    unet.save_pretrained(str(folder / "unet"))


def _save_text_encoder(folder: Path, width: int, activation: str, projected: bool) -> str:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=64,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        projection_dim=POOLED,
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=2,  # as published: the end token is then found as the highest id
        pad_token_id=1,
    )
    model = (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)
    unequal(model)
    model.save_pretrained(str(folder))
    return type(model).__name__


def _save_tokenizer(folder: Path, pad: str) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["!", *letters, *(f"{letter}</w>" for letter in letters), "do", "dog</w>"]
    names = [*pieces, "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "pad_token": pad}
    config |= {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
