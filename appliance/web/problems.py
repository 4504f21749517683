"""Every error → `application/problem+json`, or OpenAI's envelope on OpenAI's routes."""

from __future__ import annotations

import logging
import math

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from appliance.errors import EnsuenoError
from appliance.web.limits import max_body
from appliance.web.models import OpenAIError, OpenAIProblem, Problem

log = logging.getLogger(__name__)

OPENAI_ROUTES = frozenset({"/v1/images/generations", "/v1/images/edits", "/v1/models"})
RETRY_AFTER = {429: "5", 503: "5", 507: "60"}
_TITLES = { 404: "Not found", 405: "Method not allowed", 413: "Too large",
           415: "Not json", 421: "Not this box"}  # fmt: skip
_SENTENCES = {
    404: "There is nothing at this address: /openapi.json lists what there is.",
    415: "Send json, with the header Content-Type: application/json.",
}


def init_app(app: Flask) -> None:
    """Answer every error of the app in one voice."""
    app.register_error_handler(EnsuenoError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unknown)


def answer(status: int, title: str, detail: str) -> Response:
    """The error's body and headers."""
    if request.path in OPENAI_ROUTES:
        body, kind = _envelope(status, detail), "application/json"
    else:
        body = Problem(title=title, status=status, detail=detail).model_dump_json()
        kind = "application/problem+json"
    response = Response(body, status, content_type=kind)
    response.headers["Cache-Control"] = "no-store"
    if status in RETRY_AFTER:
        response.headers["Retry-After"] = RETRY_AFTER[status]
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _envelope(status: int, detail: str) -> str:
    kind = {429: "rate_limit_error"}.get(status)
    if kind is None:
        kind = "invalid_request_error" if status < 500 else "server_error"
    code = {401: "invalid_api_key", 404: "not_found", 409: "cancelled", 429: "queue_full", 507: "no_room"}.get(status)
    return OpenAIProblem(error=OpenAIError(message=detail, type=kind, code=code)).model_dump_json()


def _known(error: EnsuenoError) -> Response:
    response = answer(error.status, error.title, printable(str(error)))
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return response


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    detail = _too_large() if status == 413 else _SENTENCES.get(status) or error.description or "It was refused."
    headers: dict[str, str] = {}
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        detail = f"This address does not take {request.method[:16]}: use {allowed}."
        headers["Allow"] = allowed
    if status < 400:  # a redirect or a ready response
        return Response(error.get_body(), status, error.get_headers())
    response = answer(status, _TITLES.get(status, error.name), printable(detail))
    response.headers.update(headers)
    return response


def _too_large() -> str:
    return f"The request is larger than {max_body(request.path) >> 10} KiB: send a smaller one."


def _unknown(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return answer(500, EnsuenoError.title, "The box made a mistake: try again, then see its log.")


def printable(text: str) -> str:
    """The same text without half characters, which UTF-8 cannot carry."""
    return text.encode("utf-8", "replace").decode("utf-8")
