"""What a row is to the doors: a job with its place in the queue, a picture; and what an asker may see of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from appliance.errors import NotFound
from appliance.job import Feedback, Image, Job, JobState, Priority, timestamp
from appliance.journal.database import Connection, first
from appliance.request import GenerationRequest

_PRIORITIES = {priority.head_start: priority for priority in Priority}
IMAGES = "SELECT id, job, prompt, seed, width, height, created, feedback, favourite, blurred FROM images"
IMAGES += " WHERE (? OR job IN (SELECT id FROM jobs WHERE asker = ?))"


def digest(request: GenerationRequest) -> str:
    """By which the same request is known again."""
    return hashlib.sha256(request.to_json().encode()).hexdigest()


def seen_by(asker: str | None) -> tuple[bool, str | None]:
    """Values for (? OR asker = ?)."""
    return asker is None, asker


def job(db: Connection, job_id: str, asker: str | None = None) -> Job:
    """The job as it stands. Raises `NotFound`."""
    row = first(
        db,
        "SELECT id, request, origin, state, engine, error, truncated, created, ended, head_start,"
        " CASE WHEN state = 'queued' THEN (SELECT count(*) FROM jobs AS ahead WHERE ahead.state = 'queued'"
        " AND (ahead.seq - ahead.head_start, ahead.seq) <= (jobs.seq - jobs.head_start, jobs.seq)) END"
        " FROM jobs WHERE (? OR asker = ?) AND id = ?",
        (*seen_by(asker), job_id),
    )
    if row is None:
        raise NotFound("There is no such job.")
    name, request, origin, state, engine, error, truncated, created, ended, head_start, place = row
    return Job(
        id=name,
        state=JobState(state),
        request=GenerationRequest.model_validate_json(request),
        images=[found[0] for found in db.execute("SELECT id FROM images WHERE job = ? ORDER BY seq", (job_id,))],
        engine=engine,
        error=error,
        truncated=truncated,
        position=place,
        priority=_PRIORITIES[head_start],
        origin=origin,
        created=timestamp(created),
        ended=None if ended is None else timestamp(ended),
    )


def image(row: Sequence[Any]) -> Image:
    """The picture of one row of `IMAGES`."""
    image_id, job_id, prompt, seed, width, height, created, feedback, favourite, blurred = row
    return Image(
        id=image_id,
        job=job_id,
        prompt=prompt,
        seed=seed,
        width=width,
        height=height,
        url=f"/v1/images/{image_id}.png",
        created=timestamp(created),
        feedback=None if feedback is None else Feedback(feedback),
        favourite=bool(favourite),
        blurred=bool(blurred),
    )


def needed_inputs(db: Connection) -> set[str]:
    """The names of the pictures that open jobs start from."""
    rows = db.execute("SELECT request FROM jobs WHERE state IN ('queued', 'running') AND request LIKE '%\"image\":%'")
    asked = (json.loads(row[0]) for row in rows)
    return {fields[name] for fields in asked for name in ("image", "mask") if name in fields}
