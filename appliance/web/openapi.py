"""`/openapi.json`: OpenAPI 3.1 from the routes' entries and the same pydantic models that answer.

A plain walk over the url map does all that is needed here, so no library stands between route and document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from appliance import __version__
from appliance.ids import JOB_ID
from appliance.request import MAX_PROMPT, MAX_SEED, GenerationRequest, Offer
from appliance.web.documented import Answer, Entry, entry
from appliance.web.models import OpenAIProblem, Problem
from appliance.web.problems import OPENAI_ROUTES

Schema = dict[str, Any]
_REF = "#/components/schemas/{model}"
_UNSPOKEN = frozenset({"HEAD", "OPTIONS"})
_REASONS = {
    400: "Bad input", 403: "Sent by another web site", 404: "Not found", 409: "Conflict",
    413: "Too large", 415: "Not json", 429: "Queue full", 500: "Failed", 503: "Not now",
    507: "No room left",
}  # fmt: skip


def document(app: Flask, offer: Offer) -> Schema:
    """The whole document."""
    paths: dict[str, Schema] = {}
    models: set[type[BaseModel]] = {Problem, OpenAIProblem}
    for rule in app.url_map.iter_rules():
        found = entry(app.view_functions[rule.endpoint])
        if found is None:
            continue
        models |= {part for part in (*found.answers.values(), found.body) if isinstance(part, type)}
        path = paths.setdefault(re.sub(r"<(?:[^<>]+:)?(\w+)>", r"{\1}", rule.rule), {})
        for method in sorted((rule.methods or set()) - _UNSPOKEN):
            path[method.lower()] = _operation(rule, found)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ensueño", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": _schemas(models, offer)},
    }


_ABOUT = (
    "A box on your own network that turns a sentence into a picture. "
    "POST /v1/jobs, then follow /v1/jobs/{job_id}/events."
)


def _operation(rule: Rule, found: Entry) -> Schema:
    answers: Schema = {
        str(status): {"description": "The answer.", "content": _content(answer)}
        for status, answer in found.answers.items()
    }
    openai = rule.rule in OPENAI_ROUTES
    for status in found.errors:
        kind = "application/json" if openai else "application/problem+json"
        model = OpenAIProblem if openai else Problem
        answers[str(status)] = {
            "description": _REASONS[status], "content": {kind: {"schema": _ref(model.__name__)}}
        }  # fmt: skip
    operation: Schema = {
        "operationId": rule.endpoint.replace(".", "_"), "summary": found.summary,
        "parameters": _parameters(rule, found.query), "responses": answers,
    }  # fmt: skip
    if found.body is not None:
        name = found.body if isinstance(found.body, str) else found.body.__name__
        operation["requestBody"] = {
            "required": True, "content": {"application/json": {"schema": _ref(name)}}
        }  # fmt: skip
    return operation


def _content(answer: Answer) -> Schema:
    if isinstance(answer, str):
        return {answer: {"schema": {}}}
    return {"application/json": {"schema": _ref(answer.__name__)}}


def _parameters(rule: Rule, query: Mapping[str, Mapping[str, Any]]) -> list[Schema]:
    names = sorted(rule.arguments)
    path = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    return path + [{"name": name, "in": "query", "schema": dict(schema)} for name, schema in query.items()]


def _schemas(models: set[type[BaseModel]], offer: Offer) -> Schema:
    ordered = sorted(models, key=lambda model: model.__name__)
    _, found = models_json_schema([(model, "serialization") for model in ordered], ref_template=_REF)
    schemas: Schema = found["$defs"]
    return schemas | {"Wish": wish(offer), "OpenAIWish": openai_wish(offer)}


def wish(offer: Offer) -> Schema:
    """What `POST /v1/jobs` takes: `GenerationRequest` with the bundle's limits, all optional but the prompt."""
    fields = GenerationRequest.model_json_schema(by_alias=False)["properties"]
    limits: dict[str, Schema] = {
        "prompt": {"minLength": 1, "maxLength": MAX_PROMPT},
        "negative_prompt": {"maxLength": MAX_PROMPT},
        "steps": _range(offer.steps, offer.default_steps),
        "guidance": _range(offer.guidance, offer.default_guidance),
        "scheduler": {"enum": list(offer.schedulers), "default": offer.schedulers[0]},
        "width": {"enum": sorted({width for width, _ in offer.sizes})},
        "height": {"enum": sorted({height for _, height in offer.sizes})},
        "count": {"maximum": offer.max_count},
        "locale": {"default": offer.default_locale, "examples": list(offer.locales)},
    }
    own = {
        "id": {"type": "string", "pattern": f"^{JOB_ID.pattern}$"},
        "expires_in": {"type": "number", "description": "Seconds; not begun by then: expired."},
        "size": {"enum": _sizes(offer), "description": "Instead of width and height."},
    }
    properties = {name: schema | limits.get(name, {}) for name, schema in fields.items()} | own
    return {
        "title": "Wish", "type": "object", "properties": properties, "required": ["prompt"],
        "additionalProperties": False,
    }  # fmt: skip


def openai_wish(offer: Offer) -> Schema:
    """What OpenAI's route takes; what other fields it has, see `Wish`."""
    properties: Schema = {
        "prompt": {"type": "string", "minLength": 1, "maxLength": MAX_PROMPT},
        "model": {"type": "string", "description": "Any name is taken: the box has one model."},
        "n": {"type": "integer", "minimum": 1, "maximum": offer.max_count, "default": 1},
        "size": {"enum": ["auto", *_sizes(offer)]},
        "response_format": {"enum": ["url", "b64_json"]},
        "seed": {"type": "integer", "minimum": 0, "maximum": MAX_SEED},
    }
    return {
        "title": "OpenAIWish", "type": "object", "properties": properties, "required": ["prompt"]
    }  # fmt: skip


def _sizes(offer: Offer) -> list[str]:
    return [f"{width}x{height}" for width, height in offer.sizes]


def _range(limits: tuple[float, float], default: float) -> Schema:
    return {"minimum": limits[0], "maximum": limits[1], "default": default}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
