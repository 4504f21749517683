"""LoRA files in every spelling of their keys, merged into real modules; what does not fit is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from appliance.errors import BadInput
from engine_build import lora
from tests.engine_build.conftest import library, quiet

TO_Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
TO_OUT = "up_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0"
CONV = "mid_block.resnets.0.conv1"
Q_PROJ = "encoder.layers.1.self_attn.q_proj"
RANDOM = np.random.default_rng(0)

# spelling → for each module its key, without the end; the ends
SPELLINGS: dict[str, tuple[dict[str, str], tuple[str, str]]] = {
    "peft": (
        {TO_Q: f"unet.{TO_Q}", TO_OUT: f"unet.{TO_OUT}", CONV: f"unet.{CONV}"},
        (".lora_A.weight", ".lora_B.weight"),
    ),
    "peft, of the UNet alone": (
        {TO_Q: f"base_model.model.{TO_Q}", TO_OUT: f"base_model.model.{TO_OUT}", CONV: f"base_model.model.{CONV}"},
        (".lora_A.default.weight", ".lora_B.default.weight"),
    ),
    "older diffusers": (
        {
            TO_Q: f"unet.{TO_Q.replace('.to_q', '.processor.to_q')}",
            TO_OUT: f"unet.{TO_OUT.replace('.to_out.0', '.processor.to_out')}",
        },
        ("_lora.down.weight", "_lora.up.weight"),
    ),
    "kohya": (
        {module: f"lora_unet_{module.replace('.', '_')}" for module in (TO_Q, TO_OUT, CONV)},
        (".lora_down.weight", ".lora_up.weight"),
    ),
    "kohya, SDXL's block numbers": (
        {
            TO_Q: "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q",
            TO_OUT: "lora_unet_output_blocks_1_1_transformer_blocks_0_attn2_to_out_0",
            CONV: "lora_unet_middle_block_0_in_layers_2",
        },
        (".lora_down.weight", ".lora_up.weight"),
    ),
}


@pytest.fixture
def unet() -> Any:
    import torch

    torch.manual_seed(0)
    with quiet():
        return library().UNet2DConditionModel(
            layers_per_block=1,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=24,
            attention_head_dim=4,
            norm_num_groups=4,
        )


@pytest.fixture
def text_encoder() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(vocab_size=32, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    )


def weights(model: Any) -> dict[str, Any]:
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


def factors(shape: tuple[int, ...], rank: int = 2) -> tuple[Any, Any]:
    """down (rank, in ...), up (out, rank, 1 ...)."""
    down = RANDOM.standard_normal((rank, *shape[1:])).astype(np.float32)
    up = RANDOM.standard_normal((shape[0], rank, *(1 for _ in shape[2:]))).astype(np.float32)
    return down, up


def write(path: Path, tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> str:
    save_file(tensors, path, metadata=metadata)
    return str(path)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_each_spelling_finds_its_modules(spelling: str, unet: Any, tmp_path: Path) -> None:
    keys, (down_end, up_end) = SPELLINGS[spelling]
    before = weights(unet)
    tensors: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    for module, key in keys.items():
        shape = before[f"{module}.weight"].shape
        down, up = factors(shape)
        tensors |= {key + down_end: down, key + up_end: up}
        expected[f"{module}.weight"] = 0.5 * (up.reshape(shape[0], 2) @ down.reshape(2, -1)).reshape(shape)
    file = lora.read_lora(write(tmp_path / "a.safetensors", tensors) + ":0.5")
    assert len(lora.merge(file, unet, "unet")) == len(keys)
    for name, after in weights(unet).items():
        assert np.allclose(after, before[name] + expected.get(name, 0), atol=1e-5), name


@pytest.mark.parametrize(
    ("key", "end"),
    [
        (f"lora_te_text_model_{Q_PROJ.replace('.', '_')}", ".lora_%s.weight"),
        (f"lora_te1_text_model_{Q_PROJ.replace('.', '_')}", ".lora_%s.weight"),
        (f"text_encoder.text_model.{Q_PROJ}", ".lora_linear_layer.%s.weight"),
        (f"text_encoder.{Q_PROJ}", ".lora.%s.weight"),
    ],
)
def test_the_text_encoders_too_with_and_without_text_model(
    key: str, end: str, text_encoder: Any, tmp_path: Path
) -> None:
    before = weights(text_encoder)[f"{Q_PROJ}.weight"]
    down, up = factors(before.shape)
    tensors = {key + end % "down": down, key + end % "up": up, f"{key}.alpha": np.array(1.0, np.float32)}
    file = lora.read_lora(write(tmp_path / "a.safetensors", tensors))
    assert lora.merge(file, text_encoder, "unet") == frozenset()
    assert len(lora.merge(file, text_encoder, "text_encoder")) == 1
    assert np.allclose(weights(text_encoder)[f"{Q_PROJ}.weight"], before + 0.5 * up @ down, atol=1e-5)


def test_pefts_alpha_is_read_from_the_metadata(unet: Any, tmp_path: Path) -> None:
    before = weights(unet)[f"{TO_Q}.weight"]
    down, up = factors(before.shape)
    tensors = {f"unet.{TO_Q}.lora_A.weight": down, f"unet.{TO_Q}.lora_B.weight": up}
    metadata = {"lora_adapter_metadata": '{"unet.lora_alpha": 8, "unet.r": 2}'}
    lora.merge(lora.read_lora(write(tmp_path / "a.safetensors", tensors, metadata)), unet, "unet")
    assert np.allclose(weights(unet)[f"{TO_Q}.weight"], before + 4 * up @ down, atol=1e-5)


def test_the_block_numbers_are_those_that_diffusers_reads(tmp_path: Path) -> None:
    """Every attention layer of an SDXL-like UNet, by diffusers' own table."""
    from diffusers.loaders import lora_conversion_utils

    theirs: Any = lora_conversion_utils._maybe_map_sgm_blocks_to_diffusers
    with quiet():
        unet = library().UNet2DConditionModel(
            layers_per_block=2,
            block_out_channels=(8, 8, 8),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=8,
            attention_head_dim=4,
            norm_num_groups=4,
        )
    blocks = [*(f"input_blocks.{n}.1" for n in (4, 5, 7, 8)), "middle_block.1"]
    blocks += [f"output_blocks.{n}.1" for n in range(6)]
    names = dict(lora._block_numbers(unet))
    for block in blocks:
        key = f"lora_unet_{block.replace('.', '_')}_proj_in.lora_down.weight"
        (mapped,) = theirs({key: 0}, unet.config)
        for older, newer in (
            ("input_", "down_"),
            ("middle_", "mid_"),
            ("output_", "up_"),
        ):
            mapped = mapped.replace(f"unet_{older}", f"unet_{newer}")
        (ours,) = (ours for ours, number in names.items() if number == block)
        assert mapped == f"lora_unet_{ours.replace('.', '_')}_proj_in.lora_down.weight"


def test_what_does_not_fit_is_said_in_one_sentence(unet: Any, tmp_path: Path) -> None:
    shape = weights(unet)[f"{TO_Q}.weight"].shape
    down, up = factors(shape)
    tensors = {
        f"unet.{TO_Q}.lora_A.weight": down,
        f"unet.{TO_Q}.lora_B.weight": up,
        "unet.nowhere.lora_A.weight": down,
        "unet.nowhere.lora_B.weight": up,
        f"unet.{TO_OUT}.lora_A.weight": down[:, :-1],
        f"unet.{TO_OUT}.lora_B.weight": up,
        f"unet.{TO_Q}.dora_scale": up,
    }
    file, said = lora.read_lora(write(tmp_path / "a.safetensors", tensors)), list[str]()
    lora.check_fit(file, list(lora.merge(file, unet, "unet")), said.append)
    (sentence,) = said
    assert sentence.startswith("a.safetensors: 1 layers merged; 3 did not fit: ")
    for part in ("nowhere", "to_out.0", "dora_scale"):
        assert part in sentence


def test_a_file_that_fits_nowhere_is_refused(unet: Any, tmp_path: Path) -> None:
    down, up = factors((4, 4))
    path = write(tmp_path / "a.safetensors", {"unet.x.lora_A.weight": down, "unet.x.lora_B.weight": up})
    file = lora.read_lora(path)
    with pytest.raises(BadInput, match="fits no layer"):
        lora.check_fit(file, list(lora.merge(file, unet, "unet")), print)


def test_a_file_of_rank_0_fits_nowhere(unet: Any, tmp_path: Path) -> None:
    down, up = factors(weights(unet)[f"{TO_Q}.weight"].shape, rank=0)
    path = write(tmp_path / "a.safetensors", {f"unet.{TO_Q}.lora_A.weight": down, f"unet.{TO_Q}.lora_B.weight": up})
    assert not lora.merge(lora.read_lora(path), unet, "unet")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: path.unlink(), "no file"),
        (lambda path: path.write_bytes(b"x"), "not a sound safetensors file"),
        (lambda path: save_file({"a": np.zeros(2)}, path), "holds no LoRA"),
    ],
)
def test_a_bad_file_is_refused_before_anything_is_loaded(
    spoil: Callable[[Path], Any], sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"")
    spoil(path)
    with pytest.raises(BadInput, match=sentence):
        lora.read_lora(f"{path}:0.7")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"\x80\x02")
    with pytest.raises(BadInput, match="only safetensors"):
        lora.read_lora(str(tmp_path / "a.pt"))
