"""Tiny diffusers folders with random weights: seconds to export, nothing to see."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WORDS = ["a", "red", "green", "apple", "dog", "on", "the", "mountain"]
LENGTH = 12


@pytest.fixture(scope="session")
def flow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never to be changed: take `copy_of_flow` for that."""
    with quiet():
        return make_flow_folder(tmp_path_factory.mktemp("flow") / "tiny flow")


@pytest.fixture
def copy_of_flow(flow_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(flow_folder, tmp_path / "folder"))


@pytest.fixture
def say() -> Callable[[str], None]:
    return lambda line: None


def library() -> Any:
    """diffusers, whose functions carry no types."""
    import diffusers

    return diffusers


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The libraries warn of things that do not concern us, and warnings are errors here."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def make_flow_folder(folder: Path) -> Path:
    """AutoencoderTiny (8 x down, 4 channels), two UNet levels without a middle, flow matching, a card."""
    import torch

    diffusers = library()

    torch.manual_seed(0)
    vae = diffusers.AutoencoderTiny(
        latent_channels=4,
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    _save(folder, vae, diffusers.FlowMatchEulerDiscreteScheduler(shift=2.0))
    card = {
        "name": "tiny-flow",
        "version": "3",
        "licence": "CC0-1.0",
        "default_steps": 4,
        "default_guidance": 3.0,
        "sizes": [[64, 64], [96, 64]],
        "examples": {"en": ["a red apple", "the dog"], "es": ["manzana"]},
        "locales": ["en", "es"],
        "locale_prompts": {"en": "the {}", "es": "{}"},
    }
    (folder / "ensueno.json").write_text(json.dumps(card))
    return folder


def _save(folder: Path, vae: Any, scheduler: Any) -> None:
    """Write the folder as save_pretrained does."""
    from transformers import CLIPTextConfig, CLIPTextModel

    diffusers = library()
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        mid_block_type=None,
        cross_attention_dim=24,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=300,
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    for model in (unet, vae, text):
        unequal(model)
    for name, part in {"unet": unet, "vae": vae, "text_encoder": text, "scheduler": scheduler}.items():
        part.save_pretrained(str(folder / name))
    _save_tokenizer(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
        "scheduler": ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", type(vae).__name__],
    }
    (folder / "model_index.json").write_text(json.dumps(index))


def unequal(model: Any) -> None:
    """Fresh biases are all zero and norms all one; trained ones are not."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))


def _save_tokenizer(folder: Path) -> None:
    """A word-level stand-in for CLIP's byte pairs, in the same json form."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    names = ["<|startoftext|>", "<|endoftext|>", *WORDS]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 0), ("<|endoftext|>", 1)],
    )
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": LENGTH,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
