"""What a folder says of the pictures that its safety checker is given."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from appliance.errors import BadInput
from appliance.pipeline.manifest import SAFETY_CHECKER, PictureCheck
from engine_build.source import PREPROCESSOR, Source

_BICUBIC = 3  # as Pillow numbers it


def preparation(source: Source) -> PictureCheck | None:
    """From feature_extractor/preprocessor_config.json, of either generation; None without a checker.

    Raises `BadInput` where it asks for what the pipeline does not do.
    """
    theirs = source.feature_extractor
    if theirs is None:
        return None
    vision = source.configs[SAFETY_CHECKER].get("vision_config") or {}
    try:
        how = PictureCheck(
            resize=_side(theirs.get("size", 224), "shortest_edge"),
            size=_side(theirs.get("crop_size", 224), "height"),
            mean=theirs["image_mean"],
            std=theirs["image_std"],
        )
    except (KeyError, TypeError, ValidationError):
        raise BadInput(f"{PREPROCESSOR} names no sizes, mean and std: save it with save_pretrained.") from None
    does = all(theirs.get(name, True) for name in ("do_resize", "do_center_crop", "do_normalize"))
    if not does or theirs.get("resample", _BICUBIC) != _BICUBIC or vision.get("image_size", 224) != how.size:
        raise BadInput(
            f"{PREPROCESSOR} does not prepare pictures as a CLIP safety checker takes them (bicubic, cut to "
            f"{vision.get('image_size', 224)} pixels, normalised): take the one that was published with it."
        )
    return how


def _side(value: Any, name: str) -> int:
    """A number, or {name: number} as it is written since transformers 4.23."""
    return int(value[name] if isinstance(value, dict) else value)
