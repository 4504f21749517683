"""The page and its files: read once at start, served from memory; no route takes a path."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, current_app, jsonify, render_template, request
from werkzeug.exceptions import NotFound

from appliance.request import MAX_PROMPT
from appliance.web.documented import documented
from appliance.web.openapi import document
from appliance.web.services import services
from appliance.web.visitors import visitor

blueprint = Blueprint("page", __name__)

STATIC = Path(__file__).parent / "static"
LANGUAGES = ("en", "es")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    data: bytes
    content_type: str
    etag: str


@blueprint.get("/")
@documented({200: "text/html"})
def page() -> Response:
    """The page.

    In the visitor's language, as far as the box knows it.
    """
    language, stranger = page_language(), visitor().role is None
    html = render_template(
        "page.html", language=language, words=words(language), max_prompt=MAX_PROMPT, stranger=stranger
    )
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Vary"] = "Accept-Language, Cookie"
    return response


def page_language() -> str:
    """The page's language for the visitor who asks now."""
    return request.accept_languages.best_match(LANGUAGES, LANGUAGES[0])


@blueprint.get("/static/<name>")
@documented({200: "*/*"}, errors=(404,))
def static(name: str) -> Response:
    """A file of the page."""
    asset = assets().get(name)
    if asset is None:
        raise NotFound
    response = Response(asset.data, content_type=asset.content_type)
    response.set_etag(asset.etag)
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response


@blueprint.get("/openapi.json")
@documented({200: "application/json"})
def openapi() -> Response:
    """This document."""
    return jsonify(document(current_app, services().offer))


@cache
def assets() -> dict[str, Asset]:
    """Every file of the static folder, by name."""
    found = {}
    for path in sorted(STATIC.iterdir()):
        if path.suffix in _TYPES:
            data = path.read_bytes()
            found[path.name] = Asset(data, _TYPES[path.suffix], hashlib.sha256(data).hexdigest()[:20])
    return found


@cache
def words(language: str) -> dict[str, str]:
    """The page's sentences in a language; the scripts read the same file."""
    text: dict[str, str] = json.loads((STATIC / f"words.{language}.json").read_text("utf-8"))
    return text
