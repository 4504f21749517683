"""The answers of the API that are not jobs or images; `openapi.json` is generated from them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from appliance.job import Feedback, Image, JobState


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


class Health(_Answer):
    """The process answers."""

    status: str = "ok"


class Readiness(_Answer):
    """The engine is alive and has drawn a picture."""

    ready: bool
    engine: str
    bundle: str
    pictures: int


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
