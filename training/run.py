"""A run is a TOML file: sizes, locales, words, widths, steps and seed are data, never code."""

from __future__ import annotations

import dataclasses
import sys
import typing
from pathlib import Path
from typing import Any, TypeVar

from training.errors import TrainingError

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10 (JetPack 6) has no tomllib of its own
    import tomli as tomllib

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which pictures are drawn and at which size (pixels a side)."""

    size: int
    leave_out: tuple[str, ...] = ()  # regular expressions searched in the name of the first locale
    strangers: int = 0  # how many nouns that name nothing here are used as captions


@dataclasses.dataclass(frozen=True)
class LocaleSettings:
    """How one locale is spoken: CLDR files, general before particular, a file of ``languages/``, and its tag."""

    annotations: tuple[str, ...]
    language: str
    tag: str  # what stands in front of a sentence of this locale
    examples: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ColourSettings:
    """A picture has this colour when most of its pixels are nearest to one of ``rgb``; the first paints others so."""

    rgb: tuple[tuple[int, int, int], ...]


@dataclasses.dataclass(frozen=True)
class PersonSettings:
    """A word for people, and the pictures it may be drawn as: each is used in every skin tone, equally often."""

    id: str
    pictures: tuple[str, ...]
    bodies: tuple[str, ...] = ()  # from head to foot, for scenes


@dataclasses.dataclass(frozen=True)
class SceneSettings:
    """How many scenes there are, and which things (by their names in the first locale) play which part in them."""

    singles: int  # of each thing
    composed: int
    actors: tuple[str, ...]
    supports: tuple[str, ...]  # on which others stand
    canopies: tuple[str, ...]  # under which others stand
    fliers: tuple[str, ...]  # that go over others
    faces: tuple[str, ...]  # that wear something


@dataclasses.dataclass(frozen=True)
class CaptionSettings:
    """How often a caption is made which way; what is left over is a plain name."""

    keyword: float = 0.2  # one keyword instead of the name
    keywords: float = 0.1  # two or three keywords
    coloured: float = 0.1  # its own colour and its name
    dropped: float = 0.1  # the empty caption, for classifier-free guidance
    told: float = 0.8  # with its locale in front
    local: float = 0.4  # by a word of the place, where there is one and the locale is told
    synonym: float = 0.15  # by a dictionary's synonym, where there is one
    stranger: float = 0.02  # by a noun that names nothing here
    times: int = 8  # each scene is told so often, and a step takes one of these


@dataclasses.dataclass(frozen=True)
class TokenizerSettings:
    """Byte pair encoding in CLIP's form."""

    vocabulary: int
    length: int


@dataclasses.dataclass(frozen=True)
class TextSettings:
    """CLIPTextModel; its width is also the UNet's cross-attention width."""

    width: int
    layers: int
    heads: int


@dataclasses.dataclass(frozen=True)
class AutoencoderSettings:
    """AutoencoderTiny: 2**(levels - 1) pixels to a latent."""

    encoder_width: int
    decoder_width: int
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    channels: int


@dataclasses.dataclass(frozen=True)
class UNetSettings:
    """UNet2DConditionModel; ``attention`` says level by level whether it looks at the words."""

    widths: tuple[int, ...]
    attention: tuple[bool, ...]
    layers: int
    heads: int
    groups: int = 16


@dataclasses.dataclass(frozen=True)
class StageSettings:
    """One stage of training. The rate falls to zero over ``steps``, or sooner over ``--minutes``."""

    steps: int
    batch: int
    rate: float
    warmup: int = 100
    decay: float = 0.01
    ema: float = 0.999
    noise: float = 0.0  # autoencoder stages: standard deviation of noise laid on the latents
    shift: int = 0  # autoencoder stages: pictures are moved by up to so many pixels
    sigma_mean: float = 0.0  # diffusion: logit(sigma) is normal with this mean
    sigma_spread: float = 1.0  # and this standard deviation


@dataclasses.dataclass(frozen=True)
class SampleSettings:
    """What the bundle offers as its own way to sample, and what the contact sheet shows."""

    steps: int
    guidance: float
    shift: float  # of the scheduler: above 1, more of the steps are spent near pure noise
    prompts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class DistillSettings:
    """The few-step variant: its steps, and into how many the teacher divides each of them."""

    steps: int = 4
    substeps: int = 4


@dataclasses.dataclass(frozen=True)
class Run:
    """The whole file."""

    name: str
    version: str
    licence: str
    seed: int
    data: DataSettings
    locales: dict[str, LocaleSettings]
    captions: CaptionSettings
    scenes: SceneSettings
    colours: dict[str, ColourSettings]
    tones: tuple[str, ...]  # code points of the skin tones that people come in
    people: tuple[PersonSettings, ...]
    tokenizer: TokenizerSettings
    text: TextSettings
    autoencoder: AutoencoderSettings
    unet: UNetSettings
    stages: dict[str, StageSettings]
    sample: SampleSettings
    distill: DistillSettings = DistillSettings()

    @property
    def latent_size(self) -> int:
        """Latents a side."""
        return self.data.size >> (len(self.autoencoder.decoder_blocks) - 1)


def build_settings(kind: Any, value: Any, where: str) -> Any:
    """Turn a TOML value into ``kind`` (a dataclass, tuple, dict or scalar) and say where it does not fit."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_table(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise TrainingError(f"{where} must be a list.")
        kinds = [inside[0]] * len(value) if inside[1:] == (...,) else list(inside)
        if len(kinds) != len(value):
            raise TrainingError(f"{where} must have {len(kinds)} entries.")
        return tuple(build_settings(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict:
        if not isinstance(value, dict):
            raise TrainingError(f"{where} must be a table.")
        return {key: build_settings(inside[1], v, f"{where}.{key}") for key, v in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TrainingError(f"{where} must be of type {kind.__name__}.")
    return value


def _build_table(kind: Any, value: Any, where: str) -> Any:
    """Fill a dataclass from a TOML table; an unknown or a missing name is an error."""
    if not isinstance(value, dict):
        raise TrainingError(f"{where} must be a table.")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise TrainingError(f"{where} has no setting named {unknown[0]!r}.")
    filled = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            filled[field.name] = build_settings(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING:
            raise TrainingError(f"{where} lacks the setting {field.name!r}.")
    return kind(**filled)


def parse_run(table: dict[str, Any]) -> Run:
    """A run from a parsed TOML table, checked."""
    run: Run = _build_table(Run, table, "the run")
    levels = len(run.autoencoder.decoder_blocks)
    if len(run.autoencoder.encoder_blocks) != levels:
        raise TrainingError("The autoencoder must have as many encoder_blocks as decoder_blocks.")
    if len(run.unet.widths) != len(run.unet.attention):
        raise TrainingError("The unet must have as many entries in attention as in widths.")
    unit = 2 ** (levels - 1 + len(run.unet.widths) - 1)
    if run.data.size <= 0 or run.data.size % unit:
        raise TrainingError(f"The size must be a multiple of {unit} pixels.")
    if not run.locales:
        raise TrainingError("A run needs at least one locale.")
    for name in ("autoencoder", "decoder", "diffusion"):
        if name not in run.stages:
            raise TrainingError(f"The run lacks the stage {name!r}.")
    return run


def load_run(name: str) -> Run:
    """The run in file ``name``, or ``training/runs/<name>.toml``."""
    path = Path(name) if name.endswith(".toml") else PACKAGE / "runs" / f"{name}.toml"
    return parse_run(read_toml(path))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file, with one sentence when it cannot be read."""
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise TrainingError(f"Cannot read {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path} is not valid TOML: {error}.") from error
    return table


def run_folder(run: Run, base: Path | None = None) -> Path:
    """Where everything of a run is kept: git-ignored, safe to delete."""
    return (base or ROOT / "build" / "training") / run.name
