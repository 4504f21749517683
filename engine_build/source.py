"""The folder that is exported: a diffusers folder, looked at before anything in it is loaded.

Only json and safetensors headers are read here, so a hostile folder is refused before torch is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from appliance.errors import BadInput
from appliance.pipeline.manifest import SAFETY_CHECKER
from engine_build.card import Card
from engine_build.tensor_file import read_header

MAX_JSON = 64 * 1024 * 1024
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
LINKS = "links.json"  # of a bundle's source/: where the weights are
PREPROCESSOR = "feature_extractor/preprocessor_config.json"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
WEIGHTS = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    SAFETY_CHECKER: "model",
}
CLASSES = {
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderTiny", "AutoencoderKL"),
    SAFETY_CHECKER: ("StableDiffusionSafetyChecker",),
}
OPTIONAL = ("text_encoder_2", SAFETY_CHECKER)
# What a StableDiffusionPipeline may carry beside the networks; we neither need nor copy it.
IGNORED = (
    "feature_extractor",
    "image_encoder",
    "requires_safety_checker",
    "force_zeros_for_empty_prompt",
)


@dataclass(frozen=True)
class Source:
    """A checked diffusers folder: `classes`, `configs`, `variants` and `folders` by its own names (unet, vae, ...).

    `feature_extractor` is how pictures are made the safety checker's input, where there is one.
    """

    folder: Path
    folders: dict[str, Path]
    index: dict[str, Any]
    classes: dict[str, str]
    configs: dict[str, dict[str, Any]]
    variants: dict[str, str | None]
    scheduler: dict[str, Any]
    card: Card
    feature_extractor: dict[str, Any] | None = None

    @classmethod
    def open(cls, folder: Path) -> Source:
        """Check the folder and read its configs. Raises `BadInput` with one sentence."""
        if not folder.is_dir():
            raise BadInput(f"There is no folder {folder}: name a diffusers folder.")
        if not (folder / "model_index.json").is_file():
            raise _no_index(folder)
        index = read_json(folder / "model_index.json")
        names = [name for name in CLASSES if name not in OPTIONAL or _present(index.get(name))]
        if not (folder / SAFETY_CHECKER).is_dir():  # often deleted, and its line left behind
            names = [name for name in names if name != SAFETY_CHECKER]
        classes = {name: _class_of(folder, index, name) for name in names}
        _refuse_other_networks(folder, index)
        return cls(
            folder=folder,
            folders={name: folder / name for name in names},
            index=index,
            classes=classes,
            configs={name: read_json(folder / name / "config.json") for name in names},
            variants={name: _check_weights(folder / name, WEIGHTS[name]) for name in names},
            scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
            card=Card.read(folder / "ensueno.json"),
            feature_extractor=read_json(folder / PREPROCESSOR) if SAFETY_CHECKER in names else None,
        )

    def with_vae(self, folder: Path) -> Source:
        """The same with the VAE of another folder, its own or a whole pipeline's. Raises `BadInput` when it is none."""
        folder = folder / "vae" if (folder / "vae" / "config.json").is_file() else folder
        config = read_json(folder / "config.json")
        kind = str(config.get("_class_name"))
        if kind not in CLASSES["vae"]:
            raise BadInput(f"{folder} holds a {kind[:60]}: --vae takes {' or '.join(CLASSES['vae'])}.")
        return replace(
            self,
            folders={**self.folders, "vae": folder},
            index={**self.index, "vae": ["diffusers", kind]},
            classes={**self.classes, "vae": kind},
            configs={**self.configs, "vae": config},
            variants={**self.variants, "vae": _check_weights(folder, WEIGHTS["vae"])},
        )


def read_json(path: Path) -> dict[str, Any]:
    """A json object from a file of the folder."""
    where = f"{path.parent.name}/{path.name}"
    try:
        if path.stat().st_size > MAX_JSON:
            raise BadInput(f"{where} is too large for a json file: save the folder again.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise BadInput(f"{where} is missing: save the whole pipeline with save_pretrained.") from None
    except (ValueError, RecursionError):
        raise BadInput(f"{where} is not valid json: save the folder again.") from None
    if not isinstance(value, dict):
        raise BadInput(f"{where} is not a json object: save the folder again.")
    return value


def _no_index(folder: Path) -> BadInput:
    pickled = next(_pickled(folder), None)
    if pickled is not None:
        return _convert(pickled)
    return BadInput(f"{folder} holds no model_index.json: name a diffusers folder, as save_pretrained writes it.")


def _class_of(folder: Path, index: dict[str, Any], name: str) -> str:
    """The class of a network, if it is one that this version can export."""
    entry = index.get(name)
    if not isinstance(entry, list) or len(entry) != 2 or entry[1] is None:
        known = ", ".join(known for known in CLASSES if known not in OPTIONAL)
        raise BadInput(f"{folder.name} has no {name}: a Stable Diffusion folder holds {known}.")
    if entry[1] not in CLASSES[name]:
        known = " or ".join(CLASSES[name])
        raise BadInput(f"{name} is a {str(entry[1])[:60]}, which cannot be exported: it must be {known}.")
    if not (folder / name).is_dir():
        raise BadInput(f"{folder.name} has no folder {name}: save the whole pipeline with save_pretrained.")
    return str(entry[1])


def _refuse_other_networks(folder: Path, index: dict[str, Any]) -> None:
    known = {*CLASSES, "tokenizer", "tokenizer_2", "scheduler", *IGNORED}
    for name, entry in index.items():
        if _present(entry) and name not in known:
            raise BadInput(
                f"{folder.name} holds {name[:60]}, so it is not of the Stable Diffusion families: "
                "export a folder with one or two CLIP text encoders, a UNet and a VAE."
            )


def _present(entry: Any) -> bool:
    """Whether an entry of model_index.json names a network, not [null, null]."""
    return isinstance(entry, list) and any(part is not None for part in entry)


def _check_weights(folder: Path, stem: str) -> str | None:
    """The variant ("fp16" or None) whose safetensors are there, every header checked."""
    for variant in (None, "fp16"):
        suffix = f".{variant}" if variant else ""
        files = [folder / f"{stem}{suffix}.safetensors"]
        if not files[0].is_file():
            files = sorted(folder.glob(f"{stem}{suffix}-*-of-*.safetensors"))
        if files:
            for file in files:
                read_header(file)
            return variant
    pickled = next(_pickled(folder), None)
    if pickled is not None:
        raise _convert(pickled)
    if (folder.parent / LINKS).is_file():
        raise BadInput(
            f"{folder.parent} is a bundle's, and its weights lie in the bundle: write it whole with "
            "`python -m engine_build source BUNDLE --out FOLDER` first."
        )
    raise BadInput(f"{folder.name} has no {stem}.safetensors: save it with safe_serialization=True.")


def _pickled(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in PICKLED)


def _convert(path: Path) -> BadInput:
    return BadInput(
        f"{path.parent.name}/{path.name} may run code when it is opened, so only safetensors are taken: "
        "on a machine you can throw away, load the model with diffusers (from_pretrained, or "
        "from_single_file for one checkpoint) and write it with "
        "save_pretrained(FOLDER, safe_serialization=True), then export that FOLDER."
    )
