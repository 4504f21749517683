"""Folders that must be refused, each with one sentence, before anything in them is loaded."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.config import BUNDLED
from appliance.errors import BadInput
from engine_build.__main__ import main
from engine_build.source import Source
from engine_build.tensor_file import MAX_HEADER, read_header

UNET = "unet/diffusion_pytorch_model.safetensors"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def to_pickle(folder: Path) -> None:
    (folder / UNET).rename(folder / "unet" / "diffusion_pytorch_model.bin")


def to_checkpoint(folder: Path) -> None:
    (folder / "model_index.json").unlink()
    (folder / "model.ckpt").write_bytes(b"\x80\x02")


def write_header(path: Path, header: bytes, length: int | None = None, body: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + body)


def long_header(folder: Path) -> None:
    with (folder / UNET).open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER + 1))
        file.truncate(MAX_HEADER + 64)


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pickled weights": (to_pickle, "save_pretrained(FOLDER, safe_serialization=True)"),
    "one checkpoint": (to_checkpoint, "safe_serialization=True"),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "model_index.json"),
    "index is no json": (lambda folder: (folder / "model_index.json").write_text("{"), "not valid json"),
    "index is a list": (lambda folder: (folder / "model_index.json").write_text("[]"), "not a json object"),
    "no unet": (lambda folder: edit(folder / "model_index.json", unet=[None, None]), "has no unet"),
    "no weights": (lambda folder: (folder / UNET).unlink(), "safe_serialization=True"),
    "another unet": (
        lambda folder: edit(folder / "model_index.json", unet=["diffusers", "UNetMotionModel"]),
        "must be UNet2DConditionModel",
    ),
    "two text encoders": (
        lambda folder: edit(folder / "model_index.json", text_encoder_2=["transformers", "CLIPTextModel"]),
        "text_encoder_2",
    ),
    "inpainting": (lambda folder: edit(folder / "unet/config.json", in_channels=9), "9 channels"),
    "conditions": (lambda folder: edit(folder / "unet/config.json", class_embed_type="timestep"), "class_embed_type"),
    "sizes without a second text encoder": (
        lambda folder: edit(folder / "unet/config.json", addition_embed_type="text_time"),
        "no text_encoder_2",
    ),
    "another network": (
        lambda folder: edit(folder / "model_index.json", controlnet=["diffusers", "ControlNetModel"]),
        "holds controlnet",
    ),
    "other widths": (lambda folder: edit(folder / "unet/config.json", cross_attention_dim=99), "trained together"),
    "nonsense": (lambda folder: edit(folder / "vae/config.json", num_decoder_blocks=3), "wrong kind"),
    "an UNet of less than nothing": (lambda folder: edit(folder / "unet/config.json", sample_size=-4), "wrong kind"),
    "no prompt at all": (
        lambda folder: edit(folder / "tokenizer/tokenizer_config.json", model_max_length=-5),
        "cuts prompts off after -5 tokens",
    ),
    "never trained": (
        lambda folder: edit(folder / "scheduler/scheduler_config.json", num_train_timesteps=0),
        "num_train_timesteps",
    ),
    "no locale": (lambda folder: edit(folder / "ensueno.json", default_locale="Spanish!"), "must look like en"),
    "no config": (lambda folder: (folder / "vae/config.json").unlink(), "vae/config.json is missing"),
    "unknown scheduler": (
        lambda folder: edit(folder / "scheduler/scheduler_config.json", _class_name="HeunScheduler"),
        "HeunScheduler",
    ),
    "unfit size": (lambda folder: edit(folder / "ensueno.json", sizes=[[64, 72]]), "multiples of 16"),
    "unfit name": (lambda folder: edit(folder / "ensueno.json", name="../up"), "ensueno.json: name"),
    "unfit template": (
        lambda folder: edit(folder / "ensueno.json", locale_prompts={"en": "en-us:"}),
        "ensueno.json: locale_prompts: the template of 'en' must hold {} once, for the sentence, and no other brace.",
    ),
    "template of nowhere": (
        lambda folder: edit(folder / "ensueno.json", locale_prompts={"en-GB": "{}"}),
        "ensueno.json: locale_prompts: 'en-GB' is not among the locales en, es.",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer/tokenizer.json").unlink(), "merges.txt"),
    "long header": (long_header, "over the limit"),
    "header past the end": (lambda folder: write_header(folder / UNET, b"{}", 99), "past the end"),
    "header is no json": (lambda folder: write_header(folder / UNET, b"{{"), "not json"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_folder_is_refused_with_one_sentence(
    case: str, copy_of_flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = WRONG[case]
    spoil(copy_of_flow)
    assert main(["export", str(copy_of_flow), "--out", str(tmp_path / "out")]) == 2
    answer = capsys.readouterr()
    assert expected in answer.err
    assert answer.err.count("\n") == 1
    assert answer.out == ""
    assert not list(tmp_path.glob("*out*"))


OPTIONS = {
    "a locale": (["--locale", "Spanish!"], "default_locale: 'Spanish!' must look like en, es or en-GB."),
    "a scale": (["--lora", "my.safetensors:nan"], "scale must be a finite number"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_wrong_option_is_refused_before_anything_is_exported(
    case: str, flow_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, expected = OPTIONS[case]
    assert main(["export", str(flow_folder), "--out", str(tmp_path / "out"), *options]) == 2
    answer = capsys.readouterr().err
    assert expected in answer
    assert answer.count("\n") == 1


def test_another_vae_whose_config_makes_no_sense_is_refused(
    copy_of_flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vae = tmp_path / "other"
    shutil.copytree(copy_of_flow / "vae", vae)
    edit(vae / "config.json", scaling_factor="much")
    assert main(["export", str(copy_of_flow), "--out", str(tmp_path / "out"), "--vae", str(vae)]) == 2
    assert "A config.json in other holds values of a wrong kind" in capsys.readouterr().err


def test_the_folder_of_what_is_no_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["source", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.endswith("name a bundle that `python -m engine_build export` wrote.\n")


def test_a_place_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["source", str(BUNDLED), "--out", "/proc/1/zz"]) == 2
    assert capsys.readouterr().err.endswith("name another --out.\n")


def test_a_missing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_pickles_beside_safetensors_are_left_alone(copy_of_flow: Path) -> None:
    (copy_of_flow / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"not opened")
    assert Source.open(copy_of_flow).variants["unet"] is None


def test_the_fp16_variant_is_found(copy_of_flow: Path) -> None:
    (copy_of_flow / UNET).rename(copy_of_flow / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    assert Source.open(copy_of_flow).variants["unet"] == "fp16"


def test_a_place_that_holds_something_else_is_left_alone(flow_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    assert main(["export", str(flow_folder), "--out", str(tmp_path / "out")]) == 2
    assert (tmp_path / "out" / "letter.txt").read_text() == "dear"


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
LIES: dict[str, dict[str, Any]] = {
    "shape": {"a": ENTRY | {"shape": [3]}},
    "negative": {"a": ENTRY | {"data_offsets": [-8, 0]}},
    "dtype": {"a": ENTRY | {"dtype": "F31"}},
    "gap": {"a": ENTRY, "b": ENTRY | {"data_offsets": [9, 17]}},
    "overlap": {"a": ENTRY, "b": ENTRY | {"data_offsets": [4, 12]}},
    "beyond": {"a": ENTRY, "b": ENTRY | {"data_offsets": [8, 16]}},
    "short": {},
    "no object": {"a": []},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(lie: str, tmp_path: Path) -> None:
    write_header(tmp_path / "a.safetensors", json.dumps(LIES[lie]).encode(), body=bytes(8))
    with pytest.raises(BadInput, match="not a sound safetensors file"):
        read_header(tmp_path / "a.safetensors")


def test_a_true_header_gives_the_places(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}, "a": ENTRY}).encode()
    write_header(tmp_path / "a.safetensors", header, body=bytes(8))
    tensor = read_header(tmp_path / "a.safetensors")["a"]
    assert (tensor.shape, tensor.offset, tensor.length) == ((2,), 8 + len(header), 8)
