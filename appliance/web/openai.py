"""OpenAI's image route, so that programs written for it work with this box unchanged."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from appliance.errors import BadInput, Conflict, EngineFault, NotLetIn, Unavailable
from appliance.ids import new_id
from appliance.job import Job, JobState
from appliance.picture import shows_through
from appliance.request import GenerationRequest
from appliance.web import client
from appliance.web.answers import as_json
from appliance.web.body import read_json
from appliance.web.documented import documented
from appliance.web.models import OpenAIImage, OpenAIImages, OpenAIModel, OpenAIModels, unix
from appliance.web.problems import answer
from appliance.web.services import Services, services
from appliance.web.switchboard import Subscription
from appliance.web.visitors import visitor
from appliance.web.wish import wish

blueprint = Blueprint("openai", __name__)

LOOK = 1.0  # seconds between two looks whether the client is still there
_IGNORED = ("user", "quality", "style", "moderation", "output_compression", "partial_images")


@dataclass(frozen=True, slots=True)
class Asked:
    """One call, in this box's terms."""

    request: GenerationRequest
    as_url: bool


@blueprint.get("/v1/models")
@documented({200: OpenAIModels})
def models() -> Response:
    """OpenAI's list of models: the one bundle."""
    return as_json(OpenAIModels(data=[OpenAIModel(id=services().manifest.name)]))


@blueprint.post("/v1/images/generations")
@documented({200: OpenAIImages}, body="OpenAIWish", errors=(400, 403, 409, 413, 415, 429, 500, 503, 507))
def generations() -> Response:
    """OpenAI's image generation: answers when the pictures are drawn. Any model name is taken."""
    box = services()
    return draw(understand(read_json(), box), box)


@blueprint.post("/v1/images/edits")
@documented(
    {200: OpenAIImages}, body="OpenAIEdit", form="OpenAIEditForm",
    errors=(400, 403, 404, 409, 413, 415, 429, 500, 503, 507),
)  # fmt: skip
def edits() -> Response:
    """OpenAI's image edit: the picture drawn again by the words, or only where the mask is transparent.

    Without a mask the picture's own transparent parts are it.
    """
    box = services()
    with wish(box) as fields:
        if "image" not in fields:
            raise BadInput("image is missing: send the picture to edit.")
        if "mask" not in fields and shows_through(fields["image"]):
            fields["mask"] = fields["image"]
        fields.pop("input_fidelity", None)
        asked = understand(fields, box)
    return draw(asked, box)


def draw(asked: Asked, box: Services) -> Response:
    """Put it in the queue, wait for its end, and answer as OpenAI would."""
    job_id, asker = new_id(), visitor()
    with box.seats.seat(asker), box.switchboard.subscribe(job_id) as subscription:
        box.journal.submit(asked.request, job_id=job_id, origin="openai", asker=asker.key, share=asker.share)
        box.ring(job_id)
        job, given_up = wait(box, subscription, lambda: client.gone(request.environ) or box.let_go(asker))
    if box.let_go(asker):
        raise NotLetIn("You were let go while you waited: pair again.")
    if job.state is not JobState.FINISHED:
        response = _not_drawn(job, given_up)
        response.headers["X-Should-Retry"] = "false"  # OpenAI's clients would ask again by themselves
        return response
    body = OpenAIImages(
        created=unix(job.created),
        data=[_picture(box, image_id, asked.as_url) for image_id in job.images],
        size=f"{job.request.width}x{job.request.height}",
        job=job.id,
    )
    response = as_json(body)
    response.set_data(body.model_dump_json(exclude_none=True))
    return response


def understand(fields: dict[str, Any], box: Services) -> Asked:
    """OpenAI's fields → a request; what cannot be honoured is refused.

    Six fields that this box has no meaning for are left aside: user, quality, style, moderation, output_compression
    (png has none to choose) and partial_images (nothing streams here).
    """
    fields = {name: value for name, value in fields.items() if value is not None}
    for name in _IGNORED:
        fields.pop(name, None)
    model = fields.pop("model", "")
    default = "b64_json" if isinstance(model, str) and model.startswith("gpt-image") else "url"
    response_format = fields.pop("response_format", default)
    if response_format not in ("url", "b64_json"):
        raise BadInput("response_format must be url or b64_json.")
    if fields.pop("output_format", "png") != "png":
        raise BadInput("This box makes png only: leave output_format out.")
    if fields.pop("background", "auto") not in ("auto", "opaque"):
        raise BadInput("This box makes opaque pictures only: leave background out.")
    if fields.pop("stream", False) is not False:
        raise BadInput("This route does not stream: use /v1/jobs and its events.")
    if fields.get("size") == "auto":
        del fields["size"]
    if "n" in fields:
        if "count" in fields:
            raise BadInput("Give either n or count, not both.")
        fields["count"] = fields.pop("n")
    return Asked(GenerationRequest.of(fields, box.offer), response_format == "url")


def wait(box: Services, subscription: Subscription, gone: Callable[[], bool]) -> tuple[Job, str | None]:
    """The job at its end; or cancelled here, and why: the client has gone, the time is up, the server stops."""
    limit = box.limits.wait_limit
    last = time.monotonic() + limit
    subscription.curious = False
    while not (job := box.journal.job(subscription.job_id)).state.ended:
        if subscription.closing:
            return _cancelled(box, job), "The box is stopping and the picture was cancelled: ask again in a moment."
        if gone() or time.monotonic() >= last:
            return _cancelled(box, job), (
                f"The picture was not ready within {limit:g} seconds and was cancelled: "
                "try again later, or use /v1/jobs, which does not wait."
            )
        subscription.wait(min(LOOK, limit))
    return job, None


def _cancelled(box: Services, job: Job) -> Job:
    job = box.journal.cancel(job.id)
    box.ring(job.id)
    return job


def _picture(box: Services, image_id: str, as_url: bool) -> OpenAIImage:
    if as_url:
        return OpenAIImage(url=f"{request.host_url}v1/images/{image_id}.png")
    data = box.store.path(image_id).read_bytes()
    return OpenAIImage(b64_json=base64.b64encode(data).decode("ascii"))


def _not_drawn(job: Job, given_up: str | None) -> Response:
    if job.state is JobState.FAILED:
        return answer(EngineFault.status, EngineFault.title, job.error or "It could not be drawn.")
    if given_up is not None:
        return answer(Unavailable.status, Unavailable.title, given_up)
    return answer(Conflict.status, "Cancelled", "Somebody cancelled this picture: ask again if it is still wanted.")
