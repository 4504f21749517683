"""The stream of one job (Server-Sent Events) and, for those who cannot hold one, the same moment by asking."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, request
from pydantic import BaseModel

from appliance.job import JobState
from appliance.web import client
from appliance.web.answers import as_json
from appliance.web.documented import documented
from appliance.web.models import Moment
from appliance.web.services import Services, services
from appliance.web.switchboard import Subscription
from appliance.web.visitors import Visitor, visitor

blueprint = Blueprint("events", __name__)

RETRY = "retry: 2000\n\n"
HEARTBEAT = ": still here\n\n"


@blueprint.get("/v1/jobs/<job_id>/progress")
@documented({200: Moment}, errors=(404,))
def progress(job_id: str) -> Response:
    """How the job stands this instant."""
    box = services()
    return as_json(box.moment(box.journal.job(job_id, visitor().sees)))


@blueprint.get("/v1/jobs/<job_id>/events")
@documented({200: "text/event-stream"}, errors=(404, 503))
def stream(job_id: str) -> Response:
    """The job's stream: `progress` events (a Moment), then one `end` event (the Job).

    Each stream holds a thread, so there is a bound on them; the seat is given back when it closes.
    """
    box, asker = services(), visitor()
    box.journal.job(job_id, asker.sees)
    if request.method == "HEAD":  # its answer is never closed, so it must hold nothing
        return Response(mimetype="text/event-stream")
    with contextlib.ExitStack() as held:
        held.enter_context(box.seats.seat(asker))
        subscription = held.enter_context(box.switchboard.subscribe(job_id))
        over = functools.partial(_over, box, asker, request.environ)
        response = Response(frames(box, subscription, over), mimetype="text/event-stream")
        response.call_on_close(held.pop_all().close)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _over(box: Services, asker: Visitor, environ: Mapping[str, Any]) -> bool:
    """Whether nobody is to be told any more: he has hung up, or was let go."""
    return client.gone(environ) or box.let_go(asker)


def frames(box: Services, subscription: Subscription, over: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """The first state at once, then each change, a heartbeat while there is none, and the end.

    A heartbeat looks at the journal too, so a lost ring costs a moment and never the end.
    """
    yield RETRY
    shown: Moment | None = None
    woken = True
    last = time.monotonic() + box.limits.stream_life
    while not subscription.closing and not over() and time.monotonic() < last:
        job = box.journal.job(subscription.job_id)
        if job.state.ended:
            yield event("end", job)
            return
        moment = box.moment(job)
        if moment != shown:
            yield event("progress", moment)
        elif not woken:
            yield HEARTBEAT
        shown = moment
        subscription.curious = job.state is JobState.QUEUED
        woken = subscription.wait(box.limits.heartbeat)


def event(name: str, model: BaseModel) -> str:
    """One frame; json has no bare newline, so one data line holds it."""
    return f"event: {name}\ndata: {model.model_dump_json()}\n\n"
