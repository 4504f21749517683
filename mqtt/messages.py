"""Every payload, in one place: json, UTF-8, `v` is 1. A reader refuses another version and ignores fields it does not
know (a newer minor writer may add some); what is written here never changes its meaning under the same `v`.

**Jobs.** `Wish` is what a requester sends: `{"id", "prompt", …}`, the fields of `GenerationRequest`, or
`{"kind": "cancel", "id"}`. How long it may wait is MQTT's message expiry interval, never a wall clock. The same id
sent again gives the job's present state, and its end with the pictures when it has one: that is how a requester asks.
Each `Answer` has `id` and `state` or `kind`: `accepted` (on the device's disk: one end will come), `rejected` (never
accepted; `retry` says whether it may be taken later), `progress`, `claimed` (another box of the pool owns it: ask
that one), `end`. Answers go to `…/jobs/<job>/status` and, with the asker's correlation data, to its response topic.
An answer may come more than once.

**Pictures.** An `end` on a response topic carries each picture's PNG as base64 (`png`) while all the job's pictures
together have at most `INLINE_BYTES` and the broker takes as much; beyond that, and always on the status topic, which
others may read, there is the `url` of the box's own HTTP door, with `sha256` and `bytes` to check what was fetched.

**Telemetry.** `Telemetry` is numbered by `seq` from 1 without a gap within a `session`, which is the life of one outbox
file (a lost disk begins another). A message on the wire is one object or a list of them. `kind`: `sample` (numbers at
`time`, the device's own unix seconds), `event` (something happened; `labels` says what) or `lost` (the outbox was full:
`lost` lists the ranges of `seq` that will never come, `count` how many they are). The collector makes what it got
durable and then answers with `Ack`: all up to and with `upto` are kept, and so are the ranges in `also`. Numbers in a
`lost` range count as received. Only an `Ack` deletes on the device; what is not acknowledged is sent again.
`priority` 0 goes first when the outbox is full, 3 last. No prompt and no picture ever is in telemetry.

**Presence.** Kept on the broker. `session` counts the link's starts; a will carries the session of its connection, so
a late will of an older one is told from news. `boot` names the outbox: two devices with one name differ in it.

**Pool.** A `Claim` is kept on the broker: this `device` owns the job for `lease` seconds from when the claim was seen
(no clocks are compared). The highest `epoch` counts; within one epoch the first that the broker took. An empty message
takes a claim away; on `~device` it is that device's word to itself.

**Commands.** `Command.signature` is base64 of the Ed25519 signature over `signed_bytes(command)`: the object without
`signature`, canonical json (sorted keys, no spaces, UTF-8). While it is being done its result has the detail `Begun.`
"""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from appliance import strict_json
from appliance.errors import BadInput, TooLarge
from appliance.ids import JOB_ID
from appliance.job import JobState, Priority
from appliance.request import sentence
from mqtt.topics import NAME

VERSION: Literal[1] = 1
MAX_WISH = 64 << 10  # bytes of a job's message, as of a request over HTTP
MAX_TELEMETRY = 256 << 10  # bytes of one message of telemetry
MAX_SMALL = 64 << 10  # bytes of every other payload
INLINE_BYTES = 1 << 20  # of PNG in one answer: 1.4 MB as base64, below Mosquitto's 2,000,000 for a packet
BEGUN = "Begun."
MAX_RANGES = 256  # in one `Ack` or one `lost`

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
JobId = Annotated[str, Field(pattern=f"^{JOB_ID.pattern}$")]
Sequence = Annotated[int, Field(ge=1, le=2**53)]
Version = Literal[1]


def _in_order(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[0] > pair[1]:
        raise PydanticCustomError("order", "must not end before it begins")
    return pair


Range = Annotated[tuple[Sequence, Sequence], AfterValidator(_in_order)]  # first and last, both within


class Message(BaseModel):
    """Base of all. `as_bytes` is what goes on the wire."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="ignore")

    v: Version = VERSION

    def as_bytes(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()


# --- jobs ------------------------------------------------------------------------------------------------------------


class Wish(Message):
    """A job (its other fields are those of `GenerationRequest`) or, with `kind` cancel, the end of one."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["job", "cancel"] = "job"
    id: JobId
    pool: Name | None = Field(default=None, description="The pool it was meant for, when one box is asked about it.")
    priority: Priority = Field(default=Priority.NORMAL, description="How soon it comes to its turn; bounded.")

    @property
    def fields(self) -> dict[str, Any]:
        """What `GenerationRequest.of` reads."""
        return dict(self.model_extra or {})


Reason = Literal[
    "bad_input", "bad_version", "too_large", "bad_response_topic", "conflict", "queue_full", "no_room", "not_ready",
    "expired", "not_found", "fault",
]  # fmt: skip


class Accepted(Message):
    """On the device's disk; also the answer to asking again while it waits or runs."""

    kind: Literal["accepted"] = "accepted"
    id: JobId
    device: Name
    state: JobState
    position: int | None = None


class Rejected(Message):
    """Not accepted. `id` is None when there was none to read."""

    kind: Literal["rejected"] = "rejected"
    id: JobId | None = None
    device: Name
    reason: Reason
    detail: str = Field(description="One sentence that names the remedy.")
    retry: bool = Field(description="Whether the same message may be taken later, or by another box.")


class Claimed(Message):
    """Another box of the pool owns the job: ask that one."""

    kind: Literal["claimed"] = "claimed"
    id: JobId
    device: Name
    owner: Name


class Progress(Message):
    """How far a running job is."""

    kind: Literal["progress"] = "progress"
    id: JobId
    device: Name
    state: JobState = JobState.RUNNING
    step: int
    steps: int
    seconds_left: float | None = None


class Picture(Message):
    """One picture of a finished job."""

    id: str
    seed: int
    width: int
    height: int
    bytes: int
    sha256: str
    blurred: bool = Field(default=False, description="The picture check found something: it was blurred.")
    url: str | None = Field(default=None, description="On the box's own HTTP door.")
    png: str | None = Field(default=None, description="Base64 of the file, when it fits.")


class End(Message):
    """The one end."""

    kind: Literal["end"] = "end"
    id: JobId
    device: Name
    state: JobState
    error: str | None = None
    engine: str | None = None
    truncated: str | None = None
    images: list[Picture] = []


Answer = Annotated[Accepted | Rejected | Claimed | Progress | End, Field(discriminator="kind")]


class Claim(Message):
    """Who owns a pool's job, and for how long. An ended job's claim stays a while, so that no late box draws it."""

    job: JobId
    device: Name
    epoch: Annotated[int, Field(ge=1, le=2**31)]
    lease: Annotated[float, Field(gt=0, le=3600)]
    ended: bool = False


# --- the box as the cloud sees it ------------------------------------------------------------------------------------


class Presence(Message):
    """Whether the device is there."""

    device: Name
    state: Literal["online", "offline"]
    session: Annotated[int, Field(ge=0, le=2**53)]
    boot: str = Field(max_length=64)
    version: str | None = None
    bundle: str | None = None
    url: str | None = Field(default=None, description="The box's own HTTP door.")


class Telemetry(Message):
    """One numbered record; `samples` are plain gauges and counters in base units."""

    device: Name
    session: str = Field(min_length=1, max_length=64)
    seq: Sequence
    time: float = Field(ge=0, le=1e11, description="Unix seconds by the device's own clock.")
    kind: Literal["sample", "event", "lost"]
    priority: Annotated[int, Field(ge=0, le=3)] = 1
    samples: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], float] = Field(default={}, max_length=256)
    labels: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], Annotated[str, Field(max_length=256)]] = (
        Field(default={}, max_length=32)
    )
    lost: list[Range] = Field(default=[], max_length=MAX_RANGES)
    count: int | None = Field(default=None, ge=0, description="How many numbers `lost` holds.")


class Ack(Message):
    """What the collector has on its disk."""

    session: str = Field(min_length=1, max_length=64)
    upto: Annotated[int, Field(ge=0, le=2**53)]
    also: list[Range] = Field(default=[], max_length=MAX_RANGES)


# --- commands --------------------------------------------------------------------------------------------------------


CommandName = Literal["activate", "rollback", "limits", "restart_engine", "diagnostics"]


class Command(Message):
    """An order of the owner; done once, before `expires`, if its signature is the owner's."""

    device: Name
    name: CommandName
    nonce: str = Field(pattern=r"^[A-Za-z0-9_-]{16,64}$")
    expires: float = Field(ge=0, le=1e11, description="Unix seconds.")
    arguments: dict[str, str | int | float | bool] = Field(default={}, max_length=16)
    signature: str = Field(max_length=128)


class CommandResult(Message):
    """What came of a command; the same answer when it is sent again."""

    device: Name
    nonce: str
    done: bool
    detail: str
    facts: dict[str, str | int | float | bool] = {}


# --- Home Assistant --------------------------------------------------------------------------------------------------


class HomeBundle(BaseModel):
    """The bundle, as its update entity reads it."""

    installed_version: str
    latest_version: str
    in_progress: bool


class HomeState(BaseModel):
    """What its entities show; each sensor's number is a field of its own."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, float]

    prompt: str = Field(max_length=255)
    size: str
    model: HomeBundle


# --- reading ---------------------------------------------------------------------------------------------------------

ANSWER: TypeAdapter[Accepted | Rejected | Claimed | Progress | End] = TypeAdapter(Answer)
_TELEMETRY: TypeAdapter[Telemetry | list[Telemetry]] = TypeAdapter(
    Telemetry | Annotated[list[Telemetry], Field(max_length=4096)]
)


_M = TypeVar("_M", bound=Message)
_T = TypeVar("_T")


class WrongVersion(BadInput):
    """A payload of another version."""


def read_json(payload: bytes, most: int) -> Any:
    """Bytes from outside → plain json values, strictly. Raises `BadInput`, `TooLarge`."""
    if len(payload) > most:
        raise TooLarge(f"The message has {len(payload)} bytes: send at most {most}.")
    return strict_json.loads(payload, "The message")


def read_wish(payload: bytes) -> Wish:
    """A job's message. Raises `BadInput`, `WrongVersion`; `GenerationRequest` judges the rest."""
    return _validated(TypeAdapter(Wish), read_json(payload, MAX_WISH))


def read_answer(payload: bytes) -> Accepted | Rejected | Claimed | Progress | End:
    """A box's answer. Raises `BadInput`, `WrongVersion`."""
    return _validated(ANSWER, read_json(payload, 4 * INLINE_BYTES))


def read_telemetry(payload: bytes) -> list[Telemetry]:
    """One record or a list of them, as a list. Raises `BadInput`, `WrongVersion`."""
    read = _validated(_TELEMETRY, read_json(payload, MAX_TELEMETRY))
    return read if isinstance(read, list) else [read]


def read(kind: type[_M], payload: bytes) -> _M:
    """Any other payload. Raises `BadInput`, `WrongVersion`."""
    return _validated(TypeAdapter(kind), read_json(payload, MAX_SMALL))


def signed_bytes(command: dict[str, Any]) -> bytes:
    """What a command's signature is over: canonical json of all but the signature."""
    body = {key: value for key, value in command.items() if key != "signature"}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _validated(adapter: TypeAdapter[_T], value: Any) -> _T:
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, dict):
            raise BadInput("The message must be a json object.")
        version = part.get("v", VERSION)
        if version != VERSION or isinstance(version, bool):
            raise WrongVersion(f"This end speaks version {VERSION} of the messages: send that.")
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise BadInput(sentence(error)) from None


def as_base64(data: bytes) -> str:
    """As a picture is written into json."""
    return base64.b64encode(data).decode()
