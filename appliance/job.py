"""A job and its pictures, as every door shows them."""

from __future__ import annotations

from datetime import datetime, timezone
from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from appliance.errors import BadInput
from appliance.request import MAX_SEED, GenerationRequest

PASSED = 100  # as many as may wait, unless told otherwise


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


class Priority(str, Enum):
    """How soon a job comes to its turn. It is bounded: a high one passes at most `PASSED` jobs that came before it, a
    low one lets at most as many pass that came after it. So none waits for ever, and no clock is asked."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def head_start(self) -> int:
        """Places in the queue."""
        return {Priority.LOW: -PASSED, Priority.NORMAL: 0, Priority.HIGH: PASSED}[self]


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
    images: list[str] = Field(default=[], description="Image ids, once finished; deleted ones are not among them.")
    engine: str | None = Field(default=None, description="The engine that drew it, once finished.")
    error: str | None = Field(default=None, description="Why it failed, in one sentence.")
    truncated: str | None = Field(default=None, description="The end of the prompt that the tokenizer had to cut off.")
    position: int | None = Field(default=None, description="Place in the queue, 1 is next; queued jobs only.")
    priority: Priority = Priority.NORMAL
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
    favourite: bool = Field(default=False, description="Kept whatever else goes.")
    blurred: bool = Field(default=False, description="The picture check found something: it was blurred.")


def picture_seed(seed: int, index: int) -> int:
    """The seed of picture `index` of a job: asked for alone with it, the picture is the same."""
    return (seed + index) % (MAX_SEED + 1)


def priority_of(value: Any) -> Priority:
    """What a door was told; nothing is normal. Raises `BadInput`."""
    try:
        return Priority.NORMAL if value is None else Priority(value)
    except ValueError:
        raise BadInput("priority must be low, normal or high.") from None


def timestamp(seconds: float) -> datetime:
    """Unix seconds → aware UTC datetime."""
    return datetime.fromtimestamp(seconds, tz=timezone.utc)
