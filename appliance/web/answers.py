"""Models → responses."""

from __future__ import annotations

from flask import Response
from pydantic import BaseModel


def as_json(model: BaseModel, status: int = 200, **headers: str) -> Response:
    """The model as json; nothing that changes is kept by a cache."""
    response = Response(model.model_dump_json(), status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers.update(headers)
    return response
