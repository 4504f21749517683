"""The families: which networks a diffusers folder holds, declared once each, with this folder's dimensions.

To add a family: name what its UNet takes in `appliance/pipeline/families.py`, and declare it here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import BadInput
from appliance.pipeline import families
from appliance.pipeline.manifest import SAFETY_CHECKER, Family, Latents
from engine_build import safety_checker, wrappers
from engine_build.components import MAX_LATENT_SIDE, Axis, Network, TensorSpec
from engine_build.source import TEXT_ENCODERS, Source
from engine_build.tokenizer import sequence_length

TIME_IDS = 6  # original size, crop corner, target size; an SDXL refiner has 5
BATCH = Axis("batch")


def recognised(source: Source) -> Family:
    """The family by what model_index.json and the UNet's config say, whatever the folder is called."""
    two_texts = "text_encoder_2" in source.classes
    told_guidance = source.configs["unet"].get("time_cond_proj_dim") is not None
    if two_texts:
        return "sdxl-lcm" if told_guidance else "sdxl"
    return "lcm" if told_guidance else "sd"


def declared(family: Family, source: Source) -> tuple[Network, ...]:
    """The family's networks with this folder's dimensions. Raises `BadInput` where a config makes no sense."""
    with _making_sense(source.folder):
        _check_configs(source)
        checked = _checked(source)
        return (
            *_text_encoders(source, checked),
            _unet(family, source, checked),
            *_autoencoder(source, checked),
            *_safety_checker(source, checked),
        )


@contextmanager
def _making_sense(folder: Path) -> Iterator[None]:
    """Around the reading of a folder's configs, whose values may be anything. Raises `BadInput`."""
    try:
        yield
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        raise BadInput(f"A config.json in {folder.name} holds values of a wrong kind: save it again.") from None


def latents_of(source: Source) -> Latents:
    """The latents' geometry, from the VAE's config."""
    return _latents(source.classes["vae"], source.configs["vae"])


def _latents(kind: str, vae: dict[str, Any]) -> Latents:
    if kind == "AutoencoderTiny":
        levels = len(vae.get("num_decoder_blocks", (3, 3, 3, 1)))
        scale = int(vae.get("upsampling_scaling_factor", 2)) ** (levels - 1)
    else:
        scale = 2 ** (len(vae.get("block_out_channels", (64,))) - 1)
    factor = vae.get("scaling_factor")
    default = 1.0 if kind == "AutoencoderTiny" else 0.18215
    return Latents(
        channels=int(vae.get("latent_channels", 4)),
        scale=scale,
        scaling_factor=default if factor is None else float(factor),
        shift_factor=float(vae.get("shift_factor") or 0.0),
    )


def with_vae(source: Source, folder: Path) -> Source:
    """The source with another VAE for its latents, such as a small one. Raises `BadInput` where it does not fit."""
    changed = source.with_vae(folder)
    with _making_sense(source.folder):
        ours = latents_of(source)
    with _making_sense(folder):
        theirs = latents_of(changed)
    if (ours.channels, ours.scale) != (theirs.channels, theirs.scale):
        raise BadInput(
            f"{folder} makes {theirs.channels} channels of {theirs.scale}x{theirs.scale} pixels and the UNet was "
            f"trained on {ours.channels} of {ours.scale}x{ours.scale}: name a VAE made for this model."
        )
    return changed


def size_multiple(source: Source) -> int:
    """Latent height and width must be multiples of this: the UNet halves them between its levels."""
    return int(2 ** (len(source.configs["unet"].get("block_out_channels", (1, 1, 1, 1))) - 1))


def native_latents(source: Source) -> tuple[int, int]:
    """(height, width) in latents that the UNet was made for, when its config says so. Raises `ValueError`."""
    size = source.configs["unet"].get("sample_size") or 64
    height, width = map(int, size if isinstance(size, list) else (size, size))
    if not (1 <= height <= MAX_LATENT_SIDE and 1 <= width <= MAX_LATENT_SIDE):
        raise ValueError(f"latents of {width}x{height}")
    return height, width


@dataclass(frozen=True, slots=True)
class _Checked:
    """The (batch, h, w) at which networks are compared with torch, and the one at which they are traced."""

    shapes: tuple[tuple[int, int, int], ...]
    example: tuple[int, int, int]


def _checked(source: Source) -> _Checked:
    step = size_multiple(source)
    return _Checked(
        ((1, *native_latents(source)), (2, 2 * step, 3 * step), (3, 5 * step, 4 * step)), (2, 4 * step, 6 * step)
    )


def _text_encoders(source: Source, checked: _Checked) -> tuple[Network, ...]:
    """One, or SDXL's two, whose prompt embeddings are of the layer before the last; the second also pools."""
    names = [name for name in TEXT_ENCODERS if name in source.classes]
    two = len(names) > 1
    wraps = (wrappers.penultimate_text_encoder, wrappers.pooled_text_encoder) if two else (wrappers.text_encoder,)
    return tuple(_text_encoder(source, name, wrap, checked) for name, wrap in zip(names, wraps, strict=True))


def _text_encoder(source: Source, name: str, wrap: wrappers.Wrap, checked: _Checked) -> Network:
    config, length = source.configs[name], sequence_length(source, name)
    outputs = [TensorSpec("prompt_embeds", "float32", (BATCH, length, int(config["hidden_size"])))]
    if wrap is wrappers.pooled_text_encoder:
        outputs.append(TensorSpec("text_embeds", "float32", (BATCH, int(config["projection_dim"]))))
    ids = TensorSpec("input_ids", "int32", (BATCH, length), "ids", int(config["vocab_size"]))
    return Network(
        name, name, "transformers", source.classes[name], (ids,), tuple(outputs), wrap, checked.shapes, checked.example
    )


def _unet(family: Family, source: Source, checked: _Checked) -> Network:
    unet, step = source.configs["unet"], size_multiple(source)
    high = MAX_LATENT_SIDE // step
    latents = (BATCH, int(unet["in_channels"]), Axis("h", step, high), Axis("w", step, high))
    added = families.ADDED[family]
    return Network(
        "unet", "unet", "diffusers", source.classes["unet"],
        (
            TensorSpec("sample", "float32", latents),
            TensorSpec("timestep", "float32", (BATCH,), "timestep"),
            TensorSpec("encoder_hidden_states", "float32",
                       (BATCH, sequence_length(source, "text_encoder"), int(unet["cross_attention_dim"]))),
            *(_added(name, source) for name in added),
        ),
        (TensorSpec("noise_pred", "float32", latents),),
        wrappers.unet_taking(added), checked.shapes, checked.example,
    )  # fmt: skip


def _added(name: str, source: Source) -> TensorSpec:
    """An input that the UNet takes beside sample, timestep and encoder_hidden_states."""
    if name == families.TEXT_EMBEDS:
        return TensorSpec(name, "float32", (BATCH, int(source.configs["text_encoder_2"]["projection_dim"])))
    if name == families.TIME_IDS:
        return TensorSpec(name, "float32", (BATCH, TIME_IDS), "timestep", 1024)
    return TensorSpec(name, "float32", (BATCH, int(source.configs["unet"]["time_cond_proj_dim"])))


def _autoencoder(source: Source, checked: _Checked) -> tuple[Network, ...]:
    """`vae_decoder` and `vae_encoder`, over one weights file."""
    latents, kind = latents_of(source), source.classes["vae"]
    tiny, sides, scale = kind == "AutoencoderTiny", MAX_LATENT_SIDE, latents.scale
    # Its many convolutions over large pictures add up in another order in each engine.
    tolerance = 1e-5 if tiny else 5e-5
    small = TensorSpec("latents", "float32", (BATCH, latents.channels, Axis("h", 1, sides), Axis("w", 1, sides)))
    image = TensorSpec("image", "float32", (BATCH, 3, Axis("h", scale, sides, scale), Axis("w", scale, sides, scale)))
    encoder = wrappers.tiny_vae_encoder if tiny else wrappers.vae_encoder
    shared = (checked.shapes, checked.example, tolerance, "vae_decoder", _float32_for(source))
    return (
        Network("vae_decoder", "vae", "diffusers", kind, (small,), (image,), wrappers.vae_decoder, *shared),
        Network("vae_encoder", "vae", "diffusers", kind, (image,), (small,), encoder, *shared),
    )


def _safety_checker(source: Source, checked: _Checked) -> tuple[Network, ...]:
    """One where the folder has it; its score is a small difference of cosines, so its error is a larger part of it."""
    how = safety_checker.preparation(source)
    if how is None:
        return ()
    return (
        Network(
            SAFETY_CHECKER, SAFETY_CHECKER, "stable_diffusion", source.classes[SAFETY_CHECKER],
            (TensorSpec(families.CLIP_INPUT, "float32", (BATCH, 3, how.size, how.size)),),
            (TensorSpec(families.SCORE, "float32", (BATCH,)),),
            wrappers.safety_checker, checked.shapes, checked.example, 1e-3,
            float32_for="its thresholds are finer than float16",
        ),
    )  # fmt: skip


def _float32_for(source: Source) -> str | None:
    """SDXL's own VAE overflows in float16; `force_upcast` false marks one that was mended, as diffusers reads it."""
    overflows = "text_encoder_2" in source.classes and source.classes["vae"] == "AutoencoderKL"
    upcast = overflows and source.configs["vae"].get("force_upcast", True) is not False
    return "SDXL's VAE overflows in float16" if upcast else None


def _check_configs(source: Source) -> None:
    """Refuse networks that were not trained together, or that need inputs which no family has."""
    for name in TEXT_ENCODERS:
        for key in ("hidden_size", "vocab_size"):
            if name in source.classes and type(source.configs[name].get(key)) is not int:
                raise BadInput(f"{name}/config.json has no {key}: save it with save_pretrained.")
    _check_unet(source.configs["unet"])
    _check_added(source)
    _check_fit(source)


def _check_unet(unet: dict[str, Any]) -> None:
    for key in ("in_channels", "cross_attention_dim", "block_out_channels"):
        if key not in unet:
            raise BadInput(f"unet/config.json has no {key}: save the UNet with save_pretrained.")
    for key in ("class_embed_type", "encoder_hid_dim_type", "num_class_embeds"):
        if unet.get(key) is not None:
            raise BadInput(
                f"The UNet needs {key}, which this version cannot export: use a UNet of SD 1.x, SD 2.x, SDXL or LCM."
            )


def _check_added(source: Source) -> None:
    """SDXL's UNet takes a pooled embedding and sizes, and the others must not."""
    unet, kind = source.configs["unet"], source.configs["unet"].get("addition_embed_type")
    if "text_encoder_2" not in source.classes:
        if kind is not None:
            raise BadInput(f"The UNet needs addition_embed_type {str(kind)[:40]}, but there is no text_encoder_2.")
        return
    if kind != "text_time":
        raise BadInput(
            f"With two text encoders the UNet must have addition_embed_type text_time, not {str(kind)[:40]}."
        )
    pooled = source.configs["text_encoder_2"].get("projection_dim")
    wants = unet.get("projection_class_embeddings_input_dim")
    if type(pooled) is not int or wants != TIME_IDS * unet.get("addition_time_embed_dim", 0) + pooled:
        raise BadInput(
            "The UNet does not take what text_encoder_2 pools and six sizes beside it: export an SDXL base model "
            "(a refiner cannot draw alone)."
        )


def _check_fit(source: Source) -> None:
    unet, vae = source.configs["unet"], source.configs["vae"]
    channels = vae.get("latent_channels", 4)
    if not unet["in_channels"] == unet.get("out_channels", 4) == channels:
        raise BadInput(
            f"The UNet takes {unet['in_channels']} channels and the VAE has {channels}: "
            "only text-to-image UNets, where the two agree, can be exported."
        )
    width = sum(source.configs[name]["hidden_size"] for name in TEXT_ENCODERS if name in source.classes)
    if unet["cross_attention_dim"] != width:
        raise BadInput(
            f"The UNet attends to vectors of {unet['cross_attention_dim']} numbers and the text encoder gives "
            f"{width}: put together networks that were trained together."
        )
