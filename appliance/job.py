"""A job and its pictures, as every door shows them."""

from __future__ import annotations

from datetime import datetime, timezone
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field

from appliance.request import MAX_SEED, GenerationRequest


class JobState(str, Enum):
    """`queued` and `running` are accepted; the other four are the one end."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Feedback(str, Enum):
    """A thumb."""

    UP = "up"
    DOWN = "down"


class Job(BaseModel):
    """One accepted job."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: JobState
    request: GenerationRequest
    images: list[str] = Field(default=[], description="Image ids, once finished.")
    engine: str | None = Field(default=None, description="The engine that drew it, once finished.")
    error: str | None = Field(default=None, description="Why it failed, in one sentence.")
    truncated: str | None = Field(default=None, description="The end of the prompt that the tokenizer had to cut off.")
    position: int | None = Field(default=None, description="Place in the queue, 1 is next; queued jobs only.")
    origin: str = Field(default="http", description="The door it came by.")
    created: datetime
    ended: datetime | None = None


class Image(BaseModel):
    """One picture in the gallery."""

    model_config = ConfigDict(frozen=True)

    id: str
    job: str
    prompt: str
    seed: int
    width: int
    height: int
    url: str
    created: datetime
    feedback: Feedback | None = None


def picture_seed(seed: int, index: int) -> int:
    """The seed of picture `index` of a job: asked for alone with it, the picture is the same."""
    return (seed + index) % (MAX_SEED + 1)


def timestamp(seconds: float) -> datetime:
    """Unix seconds → aware UTC datetime."""
    return datetime.fromtimestamp(seconds, tz=timezone.utc)
