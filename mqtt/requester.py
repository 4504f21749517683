"""`ensueno generate --mqtt URL [--device NAME | --pool NAME]`: a wish drawn by a box that only the broker reaches.

It keeps asking until it has the end: the message is sent again, always the same bytes with the same id, whenever the
box has been silent for a while, whatever was killed in between. A box knows the id and answers how the job stands, so
nothing is drawn twice. In a pool it asks the box that answered, and the pool again when that one falls silent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import select
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from appliance import config, generate
from appliance.errors import BadInput, Conflict, EnsuenoError, Unavailable
from appliance.generate import Drawn
from appliance.ids import JOB_ID, new_id
from appliance.job import JobState
from mqtt import topics
from mqtt.address import Address, address_of
from mqtt.connection import Closed, Connection, Delivery, Event, Opened
from mqtt.messages import INLINE_BYTES, MAX_WISH, Accepted, Claimed, End, Picture, Progress, Rejected, read_answer
from mqtt.waker import Waker

FIRST_PATIENCE = 2.0  # seconds until it asks again; doubled up to
LONGEST_PATIENCE = 10.0
SILENCES = 3  # of a pool's box before the pool is asked again
_SESSION_EXPIRY = 3600
_HTTP_SECONDS = 30.0
_WAITS = "The broker does not answer yet: trying on."


@dataclass(frozen=True)
class Target:
    """Whom to ask: one box, or any of a pool. `mark` goes into the message, so that a box knows a pool's job."""

    topic: str
    mark: dict[str, str]

    @classmethod
    def of(cls, device: str | None, pool: str | None) -> Target:
        """With neither it is the pool that every box joins. Raises `BadInput`."""
        if device and pool:
            raise BadInput("Name one box with --device or a pool with --pool, not both.")
        if device:
            return cls(topics.jobs(topics.checked_name(device)), {})
        name = topics.checked_name(pool or topics.POOL)
        return cls(topics.pool_jobs(name), {"pool": name})


@dataclass
class Asking:
    """One job's asking: what to send where and when, and what came back. Knows no network and no clock."""

    job: str
    payload: bytes
    topic: str  # where to ask first: a device's jobs or a pool's
    deadline: float  # monotonic seconds
    told: Callable[[int, int], None] = field(default=lambda step, steps: None)
    end: End | None = None
    refusal: Rejected | None = None
    device: str | None = None
    _patience: float = FIRST_PATIENCE
    _next: float = 0.0
    _silences: int = 0

    def due(self, now: float) -> bool:
        return now >= self._next

    def asked(self, now: float) -> None:
        """It was sent: give the box its time."""
        self._next = now + self._patience
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self._silences += 1

    def ask_now(self) -> None:
        """The broker is back, and may have forgotten everything."""
        self._next = 0.0

    @property
    def where(self) -> str:
        """The box that answered, while it answers; else where the asking began."""
        if self.device is not None and self._silences < SILENCES:
            return topics.jobs(self.device)
        return self.topic

    @property
    def over(self) -> bool:
        return self.end is not None or self.refusal is not None

    def hear(self, payload: bytes, now: float) -> None:
        """An answer; whatever is no answer, or of another job, or a repeat, is passed over."""
        try:
            answer = read_answer(payload)
        except BadInput:
            return
        if answer.id != self.job or self.over:
            return
        match answer:
            case End():
                self.end = answer
            case Rejected(retry=False):
                self.refusal = answer
            case Rejected():
                self.device = None  # full or not ready: try again, in a pool perhaps with another
            case Claimed(owner=owner):
                self._follow(owner, now)
            case Progress(device=device):
                self.told(answer.step, answer.steps)
                self._follow(device, now)
            case Accepted(device=device):
                self._follow(device, now)

    def _follow(self, device: str, now: float) -> None:
        self.device = device
        self._silences = 0
        self._next = now + LONGEST_PATIENCE


class Requester:
    """Sends one `Asking` over a connection and waits for its end."""

    def __init__(self, address: Address, name: str) -> None:
        self._waker = Waker()
        self._reply = topics.reply(name)
        self._connection = Connection(
            address,
            f"ensueno-ask-{name.replace('/', '-')}",
            session_expiry=_SESSION_EXPIRY,
            max_packet=4 * INLINE_BYTES,
            woken=self._waker.wake,
        )

    def ask(self, asking: Asking) -> End:
        """The end. Raises what the box refused, `Unavailable` when the time is over."""
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        patient = time.monotonic() + LONGEST_PATIENCE
        try:
            while not asking.over:
                poll.poll(500)
                self._waker.clear()
                now = time.monotonic()
                self.turn(asking, now)
                if now >= patient and not self._connection.is_open:
                    print(_WAITS, file=sys.stderr)
                    patient = float("inf")
        except KeyboardInterrupt:
            self._cancel(asking)
            raise
        finally:
            self._connection.leave()
        if asking.refusal is not None:
            raise _refusal(asking.refusal)
        assert asking.end is not None  # noqa: S101 `over` says so
        return asking.end

    def turn(self, asking: Asking, now: float) -> None:
        """One look at the broker; asks when it is time. Raises `Unavailable` when the time is over."""
        for event in self._connection.turn(now):
            self._on(event, asking, now)
        left = asking.deadline - now
        if left <= 0 and not asking.over:
            raise Unavailable("No end came in time: ask again with the same --id, or with a longer --timeout.")
        if not asking.over and asking.due(now) and self._connection.is_open:
            self._connection.publish(
                asking.where,
                asking.payload,
                expiry=max(1, int(left)),
                response_topic=self._reply,
                correlation=asking.job.encode(),
            )
            asking.asked(now)

    def _on(self, event: Event, asking: Asking, now: float) -> None:
        match event:
            case Closed(reason, refused=True):
                raise BadInput(f"No connection to {self._connection.address}: {reason}.")
            case Opened():
                self._connection.subscribe(self._reply)
                asking.ask_now()
            case Delivery(topic=self._reply):
                asking.hear(event.payload, now)
                self._connection.acknowledge(event)

    def _cancel(self, asking: Asking) -> None:
        payload = json.dumps({"v": 1, "kind": "cancel", "id": asking.job}).encode()
        self._connection.publish(asking.where, payload, expiry=60)


def own_name(user: str | None) -> str:
    """Where this asking hears: where rights are given by name, below the name that the certificate has."""
    here = new_id()[-16:].lower()
    return here if user is None else f"{topics.checked_name(user)}/{here}"


def wish_of(fields: Mapping[str, Any], target: Target, job_id: str) -> bytes:
    """A job as it goes on the wire, the same bytes each time. Raises `BadInput`."""
    if not JOB_ID.fullmatch(job_id):
        raise BadInput("A job id has 1 to 64 letters, digits, dots, dashes or underscores: choose another --id.")
    payload = json.dumps({"v": 1, "id": job_id, **target.mark, **fields}).encode()
    if len(payload) > MAX_WISH:
        raise BadInput(f"The request has {len(payload)} bytes, and a message at most {MAX_WISH}: make it shorter.")
    return payload


def on_broker(fields: dict[str, Any], requester: Requester, target: Target, job_id: str, timeout: float) -> Drawn:
    """Ask over the broker and wait at most `timeout` seconds for the pictures. Raises what the box refused."""
    payload = wish_of(fields, target, job_id)
    asking = Asking(job_id, payload, target.topic, time.monotonic() + timeout, generate.progress_bar)
    end = requester.ask(asking)
    if end.state is not JobState.FINISHED:
        raise EnsuenoError(end.error or f"The job was {end.state.value}.")
    pngs = [png_of(picture) for picture in end.images]
    return Drawn(pngs, [picture.seed for picture in end.images], end.engine or "unknown", end.truncated)


def png_of(picture: Picture) -> bytes:
    """The picture's file: from the answer, or from the box's HTTP door; checked. Raises `Unavailable`."""
    if picture.png is not None:
        data = _decoded(picture.png)
    elif picture.url is not None and picture.url.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(picture.url, timeout=_HTTP_SECONDS) as answer:  # noqa: S310 checked above
                data = answer.read(picture.bytes + 1)
        except (OSError, HTTPException, ValueError) as error:
            raise Unavailable(f"The picture is drawn, but {picture.url} cannot be reached ({error}).") from None
    else:
        raise Unavailable("The picture is drawn, but the box says no address for it: ask its owner.")
    if hashlib.sha256(data).hexdigest() != picture.sha256:
        raise Unavailable("The picture came damaged: ask again with the same --id.")
    return data


def _decoded(png: str) -> bytes:
    """What is no base64 is as damaged as what has another sum."""
    try:
        return base64.b64decode(png)
    except ValueError:
        return b""


def _refusal(rejected: Rejected) -> EnsuenoError:
    kinds: dict[str, type[EnsuenoError]] = {"conflict": Conflict, "fault": EnsuenoError}
    return kinds.get(rejected.reason, BadInput)(rejected.detail)


def main(arguments: list[str]) -> int:
    """`python -m mqtt.requester PLAN`, begun by `ensueno generate --mqtt`; PLAN is json."""
    plan = json.loads(arguments[0])
    try:
        settings = config.load({}, Path(plan["config"]) if plan["config"] else None)
        requester = Requester(address_of(settings, plan["mqtt"]), own_name(settings.mqtt_device))
        target = Target.of(plan["device"], plan["pool"])
        drawn = on_broker(plan["fields"], requester, target, plan["id"] or new_id(), plan["timeout"])
        generate.report(drawn, plan["fields"]["prompt"], Path(plan["out"]) if plan["out"] else None, plan["json"])
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
