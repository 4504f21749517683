"""The answers of the API that are not jobs or images; `openapi.json` is generated from them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from appliance.job import Feedback, Image, JobState
from appliance.people.access import Role


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Problem(_Answer):
    """RFC 9457: what went wrong; `detail` is one sentence that names the remedy."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class Moment(_Answer):
    """How a job stands this instant: what a page draws while somebody waits."""

    state: JobState
    position: int | None = Field(default=None, description="Place in the queue, 1 is next.")
    step: int | None = None
    steps: int | None = None
    seconds_left: float | None = Field(default=None, description="An estimate; while the job is queued, a rough one.")
    previews: list[str] = Field(default=[], description="One base64 PNG for each picture.")
    engine_alive: bool = Field(description="Whether the engine works; if not, the job waits.")


class ImageList(_Answer):
    """Pictures, the newest first."""

    images: list[Image]


class FeedbackBody(BaseModel):
    """A thumb, or null to take it back."""

    model_config = ConfigDict(extra="forbid")

    feedback: Feedback | None


class FavouriteBody(BaseModel):
    """Whether the picture is kept whatever else goes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    favourite: bool


class Health(_Answer):
    """The process answers."""

    status: str = "ok"


class Readiness(_Answer):
    """The engine is alive and has drawn a picture."""

    ready: bool
    engine: str | None = None
    bundle: str | None = None
    pictures: int | None = None
    passed_over: list[str] = Field(
        default=[], description="One sentence for each better engine that could not be used."
    )
    note: str | None = Field(default=None, description="What its owner should know.")


class Range(_Answer):
    """Inclusive limits, and the value used when a request says nothing."""

    minimum: float
    maximum: float
    default: float


class OfferView(_Answer):
    """What this box can draw now."""

    name: str
    version: str
    licence: str
    engine: str | None = Field(description="The engine that draws now, if one is alive.")
    sizes: list[str] = Field(description="Width x height, the default first.")
    steps: Range
    guidance: Range
    schedulers: list[str] = Field(description="The default first.")
    max_count: int
    max_prompt: int
    locales: list[str] = Field(description="Whose words the model knows; any other is taken too.")
    pictures: bool = Field(description="Whether it can start from a picture.")
    locale: str = Field(description="The one of them that is nearest to the visitor's (Accept-Language).")
    examples: dict[str, list[str]] = Field(description="Prompts to try, by locale: for each the nearest there are.")


class OpenAIImage(_Answer):
    """One picture: a url or its base64 bytes, as asked."""

    url: str | None = None
    b64_json: str | None = None


class OpenAIImages(_Answer):
    """OpenAI's ImagesResponse; `job` is this box's own."""

    created: int
    data: list[OpenAIImage]
    size: str
    output_format: str = "png"
    job: str


class OpenAIModel(_Answer):
    """One model of the list."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "ensueno"


class OpenAIModels(_Answer):
    """OpenAI's list of models."""

    object: str = "list"
    data: list[OpenAIModel]


class OpenAIError(_Answer):
    """The inside of OpenAI's envelope."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIProblem(_Answer):
    """OpenAI's error envelope."""

    error: OpenAIError


def unix(moment: datetime) -> int:
    """Whole unix seconds."""
    return int(moment.timestamp())


class TroubleView(_Answer):
    """One thing that is wrong."""

    kind: str
    level: str = Field(description="watch or bad")
    sentence: str


class BuildView(_Answer):
    """A build of the engine's plans that runs."""

    component: str
    number: int = Field(description="Of the component, from 1, among those that are built.")
    of: int
    done: float = Field(description="Of the whole build, 0 to 1.")
    seconds: float = Field(description="Since this component was begun.")


class BoxView(_Answer):
    """How the box is now; what it cannot measure is null."""

    level: str = Field(description="good, watch or bad: the worst of its troubles")
    troubles: list[TroubleView]
    note: str | None = Field(description="What the engine says of itself.")
    awake: bool
    engine: str | None
    board: str | None
    waiting: int
    running: int
    seconds_per_picture: float | None
    joules_per_picture: float | None
    celsius: float | None = Field(description="Of the zone nearest to its throttle point.")
    throttle_celsius: float | None
    gpu_load: float | None = Field(description="0 to 1")
    watts: float | None
    power_mode: str | None
    memory_total: int = Field(description="Bytes; on a Jetson of CPU and GPU together.")
    memory_available: int
    disk_total: int
    disk_free: int
    building: BuildView | None = Field(description="The engine rests while its plans are built.")
    addresses: list[str] = Field(description="Where other devices find the box; empty when they cannot.")


class Pairing(_Answer):
    """Who you are to this box."""

    role: Role | None = Field(description="guest, owner, or null: nobody yet")
    open: bool = Field(description="It serves this machine alone, and whoever reaches it owns it.")
    name: str = ""
    id: str | None = None
    token: str | None = Field(default=None, description="For a page: to be sent with each change (X-Ensueno-Token).")
    secret: str | None = Field(default=None, description="For a program, told once: Authorization: Bearer.")


class PairBody(BaseModel):
    """A PIN, or the owner's password."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pin: str | None = Field(default=None, max_length=40)
    password: str | None = Field(default=None, max_length=200)
    name: str = Field(default="somebody", max_length=200)
    program: bool = Field(default=False, description="Give a token and no cookie.")


class InviteBody(BaseModel):
    """For whom a PIN is made."""

    model_config = ConfigDict(extra="forbid")

    role: Role


class Invitation(_Answer):
    """A PIN, good once."""

    pin: str
    role: Role
    seconds: float
    tries: int
    address: str | None = Field(description="Where to enter it.")
    code: str = Field(description="SVG for a phone's camera: that address with the PIN in it.")
    fingerprint: str | None = Field(description="SHA-256 of the box's own certificate.")


class Person(_Answer):
    """Somebody who was let in."""

    id: str
    role: Role
    name: str
    created: datetime
    you: bool


class People(_Answer):
    """All who were let in, the oldest first."""

    people: list[Person]
