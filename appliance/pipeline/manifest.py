"""`manifest.json`, the contract from `engine_build` to `appliance`: what a bundle is and what it can draw.

Reads no tensor and imports no numpy, so the web process can hold requests to the bundle's limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from appliance.errors import BadBundle
from appliance.request import Offer

MANIFEST = "manifest.json"
VAE_ENCODER = "vae_encoder"  # the component that a bundle may have, and then starts from pictures
SAFETY_CHECKER = "safety_checker"  # the one that looks at what was drawn, where its owner wants that
SMALLEST_TILE = 16  # latent pixels on a side: a decoder may be given a picture in tiles as small, so plans take them
MANIFEST_HASH = "manifest.sha256"  # beside it, as `sha256sum --check` reads it; bundles made by hand may lack it
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".dill")
Shape = list[int | str]
# One name for one set of UNet inputs: `sd` is SD 1.x, 2.x and SD-Turbo alike, `sdxl` SDXL and SDXL-Turbo, and `lcm`
# marks a latent consistency model that is told its guidance by an embedding.
Family = Literal["sd", "lcm", "sdxl", "sdxl-lcm"]
Size = Annotated[list[int], Field(min_length=2, max_length=2)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _absent(value: object) -> bool:
    """Whether an optional part is left out of manifest.json, so that bundles without it stay as they are."""
    return not value


class Tensor(_Part):
    """An I/O tensor; a dimension is a number or the name of a dynamic one ("batch", "8*h")."""

    name: str
    dtype: Literal["float32", "float16", "int32", "int64"]
    shape: Shape


class Component(_Part):
    """One network: the ONNX file (its weights lie beside it in `weights`) and its I/O tensors.

    `f16` is a second graph over the same weights and with the same I/O tensors that computes in float16 inside, for
    engines that keep to a graph's types; a component without it is to be computed as `file` says.
    `precision` is set where the arithmetic is coarser than the tensors' dtypes tell (quantized networks).
    """

    file: str
    f16: str | None = Field(default=None, exclude_if=_absent)
    weights: str | None = None
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: int = 0
    precision: Literal["int8", "fp8"] | None = Field(default=None, exclude_if=_absent)

    def input(self, name: str) -> Tensor:
        """The input tensor of that name; `KeyError` when there is none."""
        return {tensor.name: tensor for tensor in self.inputs}[name]


class Tokenizer(_Part):
    """A `tokenizers` json; sequences are padded to `max_length` with `pad_token_id`."""

    file: str
    max_length: int = Field(ge=3, le=1024)
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int


class SchedulerSettings(_Part):
    """The noise schedule the network was trained with (names as in a diffusers scheduler_config.json)."""

    prediction_type: Literal["epsilon", "v_prediction", "sample", "flow"]
    num_train_timesteps: int = Field(default=1000, ge=1)
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "scaled_linear"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading"
    steps_offset: int = 1
    shift: float = 1.0
    allowed: list[str] = Field(min_length=1, description="Schedulers on offer, the default first.")


class Latents(_Part):
    """Latents are (batch, channels, height / scale, width / scale).

    decoded = latents / scaling_factor + shift_factor
    """

    channels: int = Field(ge=1, le=128)
    scale: int = Field(ge=1, le=64)
    scaling_factor: float = 1.0
    shift_factor: float = 0.0


class Preview(_Part):
    """A linear map latents → RGB in [-1, 1]: each latent pixel becomes `patch` x `patch` pixels.

    `matrix` is (channels, patch*patch*3), rows in latent-channel order, columns in (row, column, RGB) order; `bias` has
    patch*patch*3 numbers.
    """

    patch: int = Field(ge=1, le=16)
    matrix: list[list[float]]
    bias: list[float]


class PictureCheck(_Part):
    """How a picture is made the safety checker's input: its shorter side scaled to `resize` (bicubic), its middle of
    `size` x `size` pixels, and of each channel in [0, 1] (value - mean) / std.
    """

    resize: int = Field(ge=1, le=4096)
    size: int = Field(ge=1, le=4096)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @model_validator(mode="after")
    def _usable(self) -> PictureCheck:
        if self.size > self.resize or min(self.std) <= 0:
            raise ValueError("the picture check cuts out more than there is, or divides by nothing")
        return self


class Limits(_Part):
    """`batch` counts UNet rows in one call (guidance costs two); ranges are inclusive."""

    batch: int = Field(default=8, ge=1, le=256)
    steps: tuple[int, int] = (1, 100)
    guidance: tuple[float, float] = (0.0, 20.0)
    count: int = Field(default=4, ge=1, le=64)


class Defaults(_Part):
    """What a request that says nothing gets."""

    steps: int = 20
    guidance: float = 7.5
    locale: str = "en"


class FileEntry(_Part):
    """What every copy of a file must be."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: int = Field(ge=0)


class Manifest(_Part):
    """The whole of manifest.json."""

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    version: str
    licence: str
    family: Family = "sd"
    components: dict[str, Component]
    tokenizer: Tokenizer
    tokenizer_2: Tokenizer | None = Field(default=None, exclude_if=_absent)
    force_zeros_for_empty_prompt: bool = Field(
        default=False, exclude_if=_absent, description="Nothing to steer away from is zeros, not an empty sentence."
    )
    scheduler: SchedulerSettings
    latents: Latents
    sizes: Annotated[list[Size], Field(min_length=1)]
    limits: Limits = Limits()
    defaults: Defaults = Defaults()
    preview: Preview | None = None
    picture_check: PictureCheck | None = Field(default=None, exclude_if=_absent)
    locales: list[str] = ["en"]
    locale_prompts: dict[str, str] = Field(
        default={}, description="What the model reads: a template with {} by locale."
    )
    examples: dict[str, list[str]] = {}
    files: dict[str, FileEntry]

    @field_validator("locale_prompts")
    @classmethod
    def _templates(cls, prompts: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        return check_locale_prompts(prompts, info.data.get("locales", prompts))

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
                raise ValueError(f"the file name {name!r} leads out of the bundle")
            if name.lower().endswith(PICKLES):
                raise ValueError(f"{name!r} may be a pickle, which runs code when it is read")
        return files

    @model_validator(mode="after")
    def _agree(self) -> Manifest:
        """Whatever the offer lets through can be drawn, and what it gives to silent requests it also lets through."""
        scale = self.latents.scale
        for width, height in self.sizes:
            if min(width, height) < 1 or width % scale or height % scale:
                raise ValueError(f"the size {width}x{height} is no multiple of the latents' scale {scale}")
        low, high = self.limits.steps
        if not 1 <= low <= self.defaults.steps <= high:
            raise ValueError(f"the default of {self.defaults.steps} steps is not within {low} to {high}")
        weak, strong = self.limits.guidance
        if not weak <= self.defaults.guidance <= strong:
            raise ValueError(f"the default guidance {self.defaults.guidance:g} is not within {weak:g} to {strong:g}")
        if self.preview is not None:
            columns = self.preview.patch**2 * 3
            lengths = [len(row) for row in (*self.preview.matrix, self.preview.bias)]
            if lengths != [columns] * (self.latents.channels + 1):
                raise ValueError(f"the preview does not map {self.latents.channels} channels to {columns} numbers")
        return self

    @property
    def title(self) -> str:
        """Name and version, as pictures, pulse and people are told."""
        return f"{self.name} {self.version}"

    @property
    def example(self) -> str:
        """A sentence of the kind that the bundle was made for."""
        return next((sentence for sentences in self.examples.values() for sentence in sentences), "a red apple")

    def offer(self) -> Offer:
        """The limits that requests are held to."""
        return Offer(
            sizes=tuple((width, height) for width, height in self.sizes),
            steps=self.limits.steps,
            default_steps=self.defaults.steps,
            guidance=self.limits.guidance,
            default_guidance=self.defaults.guidance,
            schedulers=tuple(self.scheduler.allowed),
            max_count=self.limits.count,
            default_locale=self.defaults.locale,
            locales=tuple(self.locales),
            pictures=VAE_ENCODER in self.components,
        )


class Bundle:
    """A bundle's folder and its manifest. `Bundle.open` checks the manifest; `verify` every byte."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Read and check the manifest. Raises `BadBundle` with the remedy."""
        path = folder / MANIFEST
        try:
            data = path.read_bytes()
            _check_manifest_hash(folder, data)
            text = data.decode("utf-8")
        except OSError:
            raise BadBundle(
                f"{folder} holds no readable {MANIFEST}: name a bundle folder,"
                " or make one with `python -m engine_build export`."
            ) from None
        except UnicodeDecodeError:
            raise BadBundle(f"{path} is not text: export the bundle again.") from None
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "as a whole"
            detail = first["msg"].removeprefix("Value error, ")
            raise BadBundle(f"{path} cannot be used ({where}: {detail}): export the bundle again.") from None
        bundle = cls(folder, manifest)
        bundle._check_references()
        return bundle

    def path(self, name: str) -> Path:
        """The path of a file that the manifest lists."""
        if name not in self.manifest.files:
            raise BadBundle(f"{self.folder.name}: {name} is not among the manifest's files: export the bundle again.")
        return self.folder / name

    def require_picture_check(self) -> PictureCheck:
        """How pictures are prepared for the safety checker. Raises `BadBundle` when there is none."""
        how = self.manifest.picture_check
        if how is None or SAFETY_CHECKER not in self.manifest.components:
            raise BadBundle(
                f"picture_check is on, but {self.folder.name} has no safety checker: export the bundle from a folder "
                "with safety_checker and feature_extractor, choose one that has it, or set picture_check to off."
            )
        return how

    def of_float16(self) -> Bundle:
        """The same bundle with each component's `f16` graph as its `file`, where it has one."""
        components = {
            name: component.model_copy(update={"file": component.f16 or component.file})
            for name, component in self.manifest.components.items()
        }
        return Bundle(self.folder, self.manifest.model_copy(update={"components": components}))

    def verify(self) -> None:
        """Check presence, size and sha256 of every file. Raises `BadBundle` at the first that differs."""
        for name, entry in self.manifest.files.items():
            path = self.folder / name
            if not path.is_file():
                raise BadBundle(f"{self.folder.name}: {name} is missing: copy the bundle again.")
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise BadBundle(f"{self.folder.name}: {name} leads out of the bundle: copy the bundle again.")
            try:
                same = path.stat().st_size == entry.bytes and sha256(path) == entry.sha256
            except OSError as error:
                raise BadBundle(
                    f"{self.folder.name}: {name} cannot be read ({error.strerror}): copy the bundle again."
                ) from None
            if not same:
                raise BadBundle(
                    f"{self.folder.name}: {name} is not the file that was exported (sha256 differs): copy it again."
                )

    def _check_references(self) -> None:
        for component in self.manifest.components.values():
            for name in (component.file, component.f16, component.weights):
                if name is not None:
                    self.path(name)
        for tokenizer in (self.manifest.tokenizer, self.manifest.tokenizer_2):
            if tokenizer is not None:
                self.path(tokenizer.file)


def check_locale_prompts(prompts: dict[str, str], locales: Collection[str]) -> dict[str, str]:
    """The templates themselves, if each has its locale and one place for the sentence. Raises `ValueError`."""
    for locale, template in prompts.items():
        if locale not in locales:
            raise ValueError(f"{locale!r} is not among the locales {', '.join(locales)}")
        if template.count("{}") != 1 or template.count("{") + template.count("}") != 2:
            raise ValueError(f"the template of {locale!r} must hold {{}} once, for the sentence, and no other brace")
    return prompts


def _check_manifest_hash(folder: Path, data: bytes) -> None:
    """The files' hashes are only as good as the manifest that names them."""
    try:
        wanted = (folder / MANIFEST_HASH).read_bytes()
    except FileNotFoundError:
        return
    if wanted != f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}\n".encode():
        raise BadBundle(f"{folder.name}: {MANIFEST} is not the file that was exported (sha256 differs): copy it again.")


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return digest(file)


def digest(file: BinaryIO) -> str:
    """Hex sha256 of an open file's rest, read in pieces."""
    found = hashlib.sha256()
    for piece in iter(lambda: file.read(1 << 20), b""):
        found.update(piece)
    return found.hexdigest()
