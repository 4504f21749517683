"""What is asked for. Its constructor is the only validation: a `GenerationRequest` that exists can be drawn."""

from __future__ import annotations

import json
import math
import re
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from appliance import picture
from appliance.errors import BadInput
from appliance.locales import SPELLING
from appliance.picture import Picture

MAX_PROMPT = 2000
MAX_SEED = 2**32 - 1
STRENGTH = 0.6  # when a picture is sent and no strength; with a mask it is 1: what is drawn anew, is
_INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me"}  # not Cn: an emoji newer than this Python's tables is visible
_Whole = Annotated[int, Field(ge=1, le=99_999)]
_START = ("image", "mask", "strength")


def _told(value: Any) -> Picture:
    """A picture that was read, or in a request that is only shown, its name."""
    if isinstance(value, Picture):
        return value
    if isinstance(value, str) and picture.NAME.fullmatch(value):
        return Picture(value)
    raise ValueError("must be a picture")


_Sent = Annotated[
    Picture,
    PlainValidator(_told),
    PlainSerializer(lambda sent: sent.sha256, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{picture.NAME.pattern}$"}),
]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a bundle can draw: the limits a request is held to, and what it is given when it says nothing.

    `sizes` are (width, height) in pixels, the default first; the ranges are inclusive; the default scheduler
    is the first one; `locales` are those whose words the bundle knows, any other is taken too.
    """

    sizes: tuple[tuple[int, int], ...]
    steps: tuple[int, int]
    default_steps: int
    guidance: tuple[float, float]
    default_guidance: float
    schedulers: tuple[str, ...]
    max_count: int = 4
    default_locale: str = "en"
    locales: tuple[str, ...] = ("en",)
    pictures: bool = False  # whether it can start from one


def _none_kept(name: str) -> bytes:
    raise BadInput("No picture is kept here: send image and mask as files.")


class GenerationRequest(BaseModel):
    """One wish, complete: every field has its value but the seed, which `journal.submit` fixes when it is None.

    Made by `GenerationRequest.of(fields, offer)`; raises `BadInput` with one sentence.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    prompt: str = Field(description=f"What to draw: 1 to {MAX_PROMPT} characters.")
    negative_prompt: str = Field(
        default="",
        validation_alias=AliasChoices("negative_prompt", "negative"),
        description="What to steer away from.",
    )
    width: _Whole = Field(description="Pixels; width and height are one of the bundle's sizes.")
    height: _Whole = Field(description="Pixels.")
    steps: _Whole = Field(
        validation_alias=AliasChoices("steps", "num_inference_steps"),
        description="Denoise steps.",
    )
    guidance: float = Field(
        validation_alias=AliasChoices("guidance", "guidance_scale"),
        description="guidance_scale w in uncond + w (text - uncond); off at 1 and below.",
    )
    scheduler: str = Field(description="One of the bundle's schedulers.")
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = Field(
        default=None, description="Same seed, same picture. Random when absent."
    )
    count: _Whole = Field(default=1, description="Pictures; picture i has seed + i.")
    locale: str = Field(description="The words' place: en, es, en-GB, es-419 ...")
    image: _Sent | None = Field(default=None, description="The picture to start from: sha256 of its pixels.")
    mask: _Sent | None = Field(default=None, description="Where it is drawn anew: sha256 of the mask's pixels.")
    strength: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="How much of the picture is drawn anew: above 0, up to 1."
    )

    @classmethod
    def of(cls, fields: Mapping[str, Any], offer: Offer) -> GenerationRequest:
        """Build from plain fields (json or command line), filling what is absent from the offer."""
        if not isinstance(fields, Mapping):
            raise BadInput('The request must be a json object such as {"prompt": "a red apple"}.')
        try:
            return cls.model_validate(dict(fields), context=offer)
        except ValidationError as error:
            raise BadInput(sentence(error)) from None

    @classmethod
    def from_json(cls, text: str, offer: Offer, kept: Callable[[str], bytes] = _none_kept) -> GenerationRequest:
        """The same from `to_json`'s text, as the engine does when it claims a job; `kept` gives a picture by name."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            raise BadInput("The request is not valid json.") from None
        if isinstance(fields, dict):
            fields |= {name: kept(fields[name]) for name in ("image", "mask") if isinstance(fields.get(name), str)}
        return cls.of(fields, offer)

    def to_json(self) -> str:
        """Canonical json: the same request gives the same text. Pictures are told by their names."""
        return json.dumps(self.told(), sort_keys=True, separators=(",", ":"))

    def told(self) -> dict[str, Any]:
        """The fields as plain values; those of a picture to start from only where there is one."""
        return {name: value for name, value in self.model_dump().items() if name not in _START or value is not None}

    @property
    def steps_taken(self) -> int:
        """A picture to start from leaves the first steps out: its strength is the share that is taken."""
        return self.steps if self.strength is None else int(self.steps * self.strength)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """What was sent along: the picture to start from, and the mask."""
        return tuple(sent for sent in (self.image, self.mask) if sent is not None)

    def with_seed(self) -> GenerationRequest:
        """The same wish with its seed fixed: at random when none was asked for."""
        if self.seed is not None:
            return self
        return self.model_copy(update={"seed": secrets.randbelow(MAX_SEED + 1)})

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict) or not isinstance(info.context, Offer):
            return data
        offer = info.context
        fields = {key: value for key, value in data.items() if value is not None}
        size = fields.pop("size", None)
        if size is not None:
            if "width" in fields or "height" in fields:
                raise BadInput("Give either size or width and height, not both.")
            fields["width"], fields["height"] = parse_size(size, offer.sizes[0])
        if ("width" in fields) != ("height" in fields):
            raise BadInput("Give width and height together.")
        _read_pictures(fields, offer)
        if "width" not in fields:
            fields["width"], fields["height"] = offer.sizes[0]
        if "steps" not in fields and "num_inference_steps" not in fields:
            fields["steps"] = _usual_steps(fields.get("strength"), offer)
        if "guidance" not in fields and "guidance_scale" not in fields:
            fields["guidance"] = offer.default_guidance
        fields.setdefault("scheduler", offer.schedulers[0])
        fields.setdefault("locale", offer.default_locale)
        return fields

    @field_validator("prompt", "negative_prompt")
    @classmethod
    def _text(cls, value: str, info: ValidationInfo) -> str:
        name = "prompt" if info.field_name == "prompt" else "negative prompt"
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput(f"The {name} holds half a character (a lone surrogate): send whole Unicode.") from None
        if len(value) > MAX_PROMPT:
            raise BadInput(f"The {name} has {len(value)} characters: shorten it to at most {MAX_PROMPT}.")
        value = re.sub(r"[\t\n\r]+", " ", value).strip()
        if any(unicodedata.category(char) == "Cc" for char in value):
            raise BadInput(f"The {name} holds control characters: send plain text.")
        if info.field_name == "prompt" and all(unicodedata.category(char) in _INVISIBLE for char in value):
            raise BadInput("The prompt is empty: say in a few words what to draw.")
        return value

    @field_validator("guidance")
    @classmethod
    def _one_zero(cls, value: float) -> float:
        return value + 0.0  # -0.0 equals 0.0 and must read the same in canonical json

    @field_validator("locale")
    @classmethod
    def _place(cls, value: str) -> str:
        if not SPELLING.fullmatch(value):
            raise BadInput("The locale must look like en, es or en-GB.")
        language, *rest = value.replace("_", "-").split("-")
        return "-".join([language.lower(), *(part.upper() if len(part) == 2 else part for part in rest)])

    @model_validator(mode="after")
    def _within_the_offer(self, info: ValidationInfo) -> GenerationRequest:
        offer = info.context
        if not isinstance(offer, Offer):
            return self
        if (self.width, self.height) not in offer.sizes:
            sizes = ", ".join(f"{width}x{height}" for width, height in offer.sizes)
            raise BadInput(f"The size {self.width}x{self.height} is not offered: choose one of {sizes}.")
        if not offer.steps[0] <= self.steps <= offer.steps[1]:
            raise BadInput(f"steps must be {offer.steps[0]} to {offer.steps[1]}, not {self.steps}.")
        if self.steps_taken < 1:
            raise BadInput(
                f"A strength of {self.strength:g} takes none of {self.steps} steps: give more steps or more strength."
            )
        if not offer.guidance[0] <= self.guidance <= offer.guidance[1]:
            low, high = offer.guidance
            raise BadInput(f"guidance must be {low:g} to {high:g}, not {self.guidance:g}.")
        if self.scheduler not in offer.schedulers:
            schedulers = ", ".join(offer.schedulers)
            raise BadInput(f"This model has no scheduler {self.scheduler[:40]!r}: choose one of {schedulers}.")
        if self.count > offer.max_count:
            raise BadInput(f"count must be 1 to {offer.max_count}, not {self.count}.")
        return self


def _read_pictures(fields: dict[str, Any], offer: Offer) -> None:
    """Put `Picture`s where files were sent, and what a picture brings with it: a size that suits it, a strength."""
    if "image" not in fields:
        for name in ("mask", "strength"):
            if name in fields:
                raise BadInput(f"A {name} needs a picture to start from: send image too, or leave {name} out.")
        return
    if not offer.pictures:
        raise BadInput("This model cannot start from a picture (its bundle has no vae_encoder): leave image out.")
    sent = picture.read(fields["image"], "image")
    known = picture.size_of(sent)
    if "width" not in fields and known is not None:
        fields["width"], fields["height"] = min(offer.sizes, key=lambda size: _unlike(size, known))
    size = (fields.get("width"), fields.get("height"))
    if size not in offer.sizes:
        fields.pop("mask", None)
        del fields["image"]  # the size is what will be refused
        return
    fields["image"] = picture.colours(sent, size)
    if "mask" in fields:
        over = picture.read(fields["mask"], "mask")
        if picture.size_of(over) not in (known, size, None):
            raise BadInput("The mask must be as large as the picture it lies on: send both in the same size.")
        fields["mask"] = picture.mask(over, size)
    fields.setdefault("strength", 1.0 if "mask" in fields else STRENGTH)


def _usual_steps(strength: Any, offer: Offer) -> int:
    """The offer's, or as many more as a picture's strength needs for one of them to be taken."""
    if not isinstance(strength, (int, float)) or not 0.0 < strength <= 1.0:
        return offer.default_steps
    enough = (steps for steps in range(offer.default_steps, offer.steps[1]) if int(steps * strength) >= 1)
    return next(enough, offer.steps[1])


def _unlike(size: tuple[int, int], other: tuple[int, int]) -> float:
    """How far two sizes' shapes are from each other."""
    return abs(math.log(size[0] * other[1] / (size[1] * other[0])))


def parse_size(text: Any, offered: tuple[int, int]) -> tuple[int, int]:
    """'64x64' → (64, 64), width first. Raises `BadInput` that names one which is offered."""
    match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text) if isinstance(text, str) else None
    if match is None:
        raise BadInput(f"The size must look like {offered[0]}x{offered[1]} (width x height).")
    return int(match[1]), int(match[2])


_PLAIN = {
    "input should be": "must be",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "a valid integer": "a whole number",
    "a valid string": "text",
    "a valid number": "a number",
}


def sentence(error: ValidationError) -> str:
    """The first thing wrong, as one sentence that names the field."""
    first = error.errors(include_url=False, include_context=True)[0]
    where = ".".join(str(part) for part in first["loc"]) or "request"
    match first["type"]:
        case "missing":
            return f"{where} is missing: send it with the request."
        case "extra_forbidden":
            return f"{where[:60]!r} is not a field of a request: leave it out or check its spelling."
        case "finite_number":
            return f"{where} must be a finite number."
        case "invalid_key" | "string_unicode":
            return "The name of a field must be plain text."
    detail = first["msg"][:1].lower() + first["msg"][1:]
    for stiff, plain in _PLAIN.items():
        detail = detail.replace(stiff, plain)
    return f"{where[:60]} {detail}."
