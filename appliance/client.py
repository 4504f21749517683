"""`ensueno generate --server URL`: the same wish, drawn by a running box."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from appliance.errors import (
    BadInput,
    Conflict,
    EnsuenoError,
    NoRoom,
    NotFound,
    QueueFull,
    TooLarge,
    Unavailable,
)
from appliance.generate import Drawn, seeds
from appliance.ids import new_id

_TIMEOUT = 30.0
_POLL = 0.2
_TRIES = 5


def on_server(fields: dict[str, Any], url: str) -> Drawn:
    """Ask a running box and wait for the job's end; interrupted, the job is cancelled. Raises what the box answered.

    The job's id is made here, so a question whose answer was lost is asked again and drawn once.
    """
    base = _base(url)
    job_url = f"{base}/v1/jobs/{(job_id := new_id())}"
    try:
        job = _ask(f"{base}/v1/jobs", {**fields, "id": job_id})
        while job["state"] in ("queued", "running"):
            time.sleep(_POLL)
            job = _ask(job_url)
    except KeyboardInterrupt:
        _call(job_url, method="DELETE")
        raise
    if job["state"] != "finished":
        raise EnsuenoError(job["error"] or f"The job was {job['state']}.")
    pngs = [_call(f"{base}/v1/images/{image}.png") for image in job["images"]]
    return Drawn(pngs, seeds(job["request"]), job["engine"], job.get("truncated"))


def _base(url: str) -> str:
    try:
        good = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:
        good = False
    if not good:
        raise BadInput("The server must look like http://box.local:8080.")
    return url.rstrip("/")


def _ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """A json answer; a box that is away for a moment is asked again."""
    for attempt in range(_TRIES):
        try:
            answer: dict[str, Any] = json.loads(_call(url, body))
            return answer
        except ValueError:
            raise Unavailable(f"{url} does not answer as an Ensueño box does: check the address.") from None
        except Unavailable:
            if attempt == _TRIES - 1:
                raise
            time.sleep(_POLL * 2**attempt)
    raise AssertionError("unreachable")


def _call(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise _refusal(error) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable(f"{url} does not answer ({error}): is `ensueno serve` running there?") from None


def _refusal(error: urllib.error.HTTPError) -> EnsuenoError:
    """The box's own sentence, as the error class that gives the right exit status."""
    with error:
        try:
            detail = str(json.loads(error.read())["detail"])
        except (ValueError, KeyError, TypeError):
            detail = f"The box answered {error.code}."
    kinds: list[type[EnsuenoError]] = [BadInput, NotFound, Conflict, TooLarge, QueueFull, Unavailable, NoRoom]
    return next((kind for kind in kinds if kind.status == error.code), EnsuenoError)(detail)
