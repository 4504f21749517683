"""The gallery: what was drawn, the files, and the thumbs."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request, send_file
from pydantic import ValidationError

from appliance.errors import BadInput
from appliance.ids import slug
from appliance.job import Image
from appliance.web.answers import as_json
from appliance.web.body import read_json
from appliance.web.documented import documented
from appliance.web.models import FeedbackBody, ImageList
from appliance.web.services import services
from appliance.web.visitors import visitor

blueprint = Blueprint("images", __name__)

MOST = 100
_FOREVER = "private, max-age=31536000, immutable"


@blueprint.get("/v1/images")
@documented(
    {200: ImageList},
    query={
        "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": 50},
        "before": {"type": "string", "description": "The id of the last picture already seen."},
    },
    errors=(400,),
)
def gallery() -> Response:
    """Pictures, the newest first."""
    limit = request.args.get("limit", "50")
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= MOST:
        raise BadInput(f"limit must be a whole number from 1 to {MOST}.")
    pictures = services().journal.gallery.images(int(limit), request.args.get("before"), visitor().sees)
    return as_json(ImageList(images=pictures))


@blueprint.get("/v1/images/<string(length=26):image_id>")
@documented({200: Image}, errors=(404,))
def entry(image_id: str) -> Response:
    """One picture's entry."""
    return as_json(services().journal.gallery.image(image_id, visitor().sees))


@blueprint.get("/v1/images/<string(length=26):image_id>.png")
@documented(
    {200: "image/png", 206: "image/png", 304: "image/png"},
    query={"download": {"type": "string", "enum": ["1"], "description": "Save, not show."}},
    errors=(404, 416),
)
def file(image_id: str) -> Response:
    """The file; it never changes."""
    box = services()
    picture = box.journal.gallery.image(image_id, visitor().sees)
    path = box.store.path(image_id)
    response = send_file(path, mimetype="image/png", conditional=True, etag=image_id)
    response.headers["Cache-Control"] = _FOREVER
    manner = "attachment" if request.args.get("download") == "1" else "inline"
    response.headers["Content-Disposition"] = f'{manner}; filename="{file_name(picture)}"'
    return response


@blueprint.post("/v1/images/<string(length=26):image_id>/feedback")
@documented({200: Image}, body=FeedbackBody, errors=(400, 403, 404, 413, 415))
def feedback(image_id: str) -> Response:
    """Keep a thumb up or down, or take it back."""
    try:
        thumb = FeedbackBody.model_validate(read_json()).feedback
    except ValidationError:
        raise BadInput('Send {"feedback": "up"}, "down" or null.') from None
    return as_json(services().journal.gallery.feedback(image_id, thumb, visitor().sees))


def file_name(picture: Image) -> str:
    """A name every file system takes, from the prompt's letters and the seed."""
    return f"{slug(f'ensueno {picture.prompt}', 60)}-{picture.seed}.png"
