"""What is kept and what goes: favourites, and pictures that are deleted."""

from __future__ import annotations

import logging

from flask import Blueprint, Response
from pydantic import ValidationError

from appliance.errors import BadInput
from appliance.job import Image
from appliance.web.answers import as_json
from appliance.web.body import read_json
from appliance.web.documented import documented
from appliance.web.models import FavouriteBody
from appliance.web.services import services
from appliance.web.visitors import visitor

blueprint = Blueprint("keeping", __name__)

log = logging.getLogger(__name__)


@blueprint.delete("/v1/images/<string(length=26):image_id>")
@documented({200: Image}, errors=(403, 404, 503, 507))
def remove(image_id: str) -> Response:
    """Delete a picture for good, its file too; → what it was. A full disk does not hinder it."""
    services().journal.gallery.image(image_id, visitor().sees)
    image = services().keeper.remove(image_id)
    log.info("picture removed", extra={"job": image.job, "image": image_id, "why": "asked"})
    return as_json(image)


@blueprint.post("/v1/images/<string(length=26):image_id>/favourite")
@documented({200: Image}, body=FavouriteBody, errors=(400, 403, 404, 413, 415))
def favourite(image_id: str) -> Response:
    """Keep a picture whatever else goes by age or size, or no longer."""
    try:
        body = FavouriteBody.model_validate(read_json())
    except ValidationError:
        raise BadInput('Send {"favourite": true} or false.') from None
    return as_json(services().journal.gallery.favourite(image_id, body.favourite))
