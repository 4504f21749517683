"""Jobs: ask for pictures, look, cancel."""

from __future__ import annotations

import logging
from typing import Any

from flask import Blueprint, Response

from appliance.errors import BadInput, Refused
from appliance.job import Job, Priority, priority_of
from appliance.people.access import Role
from appliance.request import GenerationRequest
from appliance.web.answers import as_json
from appliance.web.documented import documented
from appliance.web.services import services
from appliance.web.visitors import visitor
from appliance.web.wish import wish

blueprint = Blueprint("jobs", __name__)
log = logging.getLogger(__name__)

LONGEST_WAIT = 7 * 24 * 3600


@blueprint.post("/v1/jobs")
@documented({202: Job}, body="Wish", form="WishForm", errors=(400, 403, 404, 409, 413, 415, 429, 503, 507))
def submit() -> Response:
    """Ask for pictures. The same id with the same request gives the job as it stands.

    On the disk before it is answered.
    """
    box = services()
    with wish(box) as fields:
        job_id, expires_in = fields.pop("id", None), fields.pop("expires_in", None)
        priority = _priority(fields.pop("priority", None))
        request = GenerationRequest.of(fields, box.offer)
    asker = visitor()
    job, new = box.journal.submit(
        request,
        job_id=job_id,
        expires_in=_seconds(expires_in),
        priority=priority,
        asker=asker.key,
        share=asker.share,
    )
    if new:
        log.info("accepted", extra={"job": job.id, "origin": job.origin, "pictures": request.count})
        box.ring(job.id)
    return as_json(job, 202, Location=f"/v1/jobs/{job.id}")


@blueprint.get("/v1/jobs/<job_id>")
@documented({200: Job}, errors=(404,))
def look(job_id: str) -> Response:
    """The job as it stands."""
    return as_json(services().journal.job(job_id, visitor().sees))


@blueprint.delete("/v1/jobs/<job_id>")
@documented({200: Job}, errors=(403, 404))
def cancel(job_id: str) -> Response:
    """Cancel: at once when queued, between two steps when running; an ended job stays as it is."""
    box = services()
    job = box.journal.cancel(job_id, visitor().sees)
    box.ring(job.id)
    return as_json(job)


def _priority(value: Any) -> Priority:
    priority = priority_of(value)
    if priority is Priority.HIGH and not visitor().may(Role.OWNER):
        raise Refused("Only the box's owner may ask for high priority: leave it out.")
    return priority


def _seconds(expires_in: Any) -> float | None:
    if expires_in is None:
        return None
    number = isinstance(expires_in, int | float) and not isinstance(expires_in, bool)
    if not number or not 0 < expires_in <= LONGEST_WAIT:
        raise BadInput(f"expires_in must be a number of seconds, above 0 and up to {LONGEST_WAIT}.")
    return float(expires_in)
