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
from appliance.job import PASSED, Priority
from appliance.picture import MAX_BYTES
from appliance.request import MAX_PROMPT, MAX_SEED, STRENGTH, GenerationRequest, Offer
from appliance.web.documented import Answer, Entry, entry
from appliance.web.gate import TOKEN
from appliance.web.models import OpenAIProblem, Problem
from appliance.web.problems import OPENAI_ROUTES
from appliance.web.rules import RULES
from appliance.web.visitors import COOKIE

Schema = dict[str, Any]
_REF = "#/components/schemas/{model}"
_ALWAYS = (403, 421, 429)
_UNSPOKEN = frozenset({"HEAD", "OPTIONS"})
_REASONS = {
    400: "Bad input", 401: "Nobody knows you", 403: "Not yours to do, or sent by another web site", 404: "Not found",
    409: "Conflict", 413: "Too large", 415: "Not json", 416: "No such part of it", 421: "Not this box's name",
    429: "Too much at once, or queue full", 500: "Failed", 503: "Not now", 507: "No room left",
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
        "components": {"schemas": _schemas(models, offer), "securitySchemes": _SCHEMES},
    }


_SCHEMES: Schema = {
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": f"Changes need {TOKEN} too."},
    "bearer": {"type": "http", "scheme": "bearer"},
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
    least = RULES[rule.endpoint]
    for status in sorted({*found.errors, *_ALWAYS, *(() if least is None else (401,))}):
        kind = "application/json" if openai else "application/problem+json"
        model = OpenAIProblem if openai else Problem
        answers[str(status)] = {
            "description": _REASONS[status], "content": {kind: {"schema": _ref(model.__name__)}}
        }  # fmt: skip
    operation: Schema = {
        "operationId": rule.endpoint.replace(".", "_"), "summary": found.summary,
        "parameters": _parameters(rule, found.query), "responses": answers,
        "security": [{}] if least is None else [{"cookie": [least.value]}, {"bearer": [least.value]}],
    }  # fmt: skip
    if found.body is not None:
        name = found.body if isinstance(found.body, str) else found.body.__name__
        content = {"application/json": {"schema": _ref(name)}}
        if found.form is not None:
            content["multipart/form-data"] = {"schema": _ref(found.form)}
        operation["requestBody"] = {"required": True, "content": content}
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
    own = {"Wish": wish(offer), "OpenAIWish": openai_wish(offer), "OpenAIEdit": openai_edit(offer)}
    forms = {"WishForm": as_form(own["Wish"]), "OpenAIEditForm": as_form(own["OpenAIEdit"])}
    return schemas | own | forms


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
        "priority": {
            "enum": [priority.value for priority in Priority], "default": Priority.NORMAL.value,
            "description": f"How soon it comes to its turn: high (owners alone) passes at most {PASSED} before it.",
        },
        "size": {"enum": _sizes(offer), "description": "Instead of width and height."},
    }  # fmt: skip
    properties = {name: schema | limits.get(name, {}) for name, schema in fields.items()} | own | _START
    if not offer.pictures:
        properties = {name: schema for name, schema in properties.items() if name not in _START}
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


def openai_edit(offer: Offer) -> Schema:
    """What OpenAI's edits take: the same, a picture, and where to draw in it."""
    asked = openai_wish(offer)
    return asked | {
        "title": "OpenAIEdit",
        "properties": asked["properties"] | _START,
        "required": ["image", "prompt"],
    }


def as_form(schema: Schema) -> Schema:
    """The same fields as multipart/form-data: pictures are files (a text part may be a picture's id)."""
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    properties = {
        name: ({"description": field["description"]} | file if name in ("image", "mask") else field)
        for name, field in schema["properties"].items()
    }
    return schema | {"title": f"{schema['title']}Form", "properties": properties}


_START: dict[str, Schema] = {
    "image": {
        "type": "string",
        "description": "A picture to start from: a PNG, JPEG or WebP file of up to "
        f"{MAX_BYTES >> 20} MiB in base64, or the id of a picture of this box. It is scaled until it covers the size, "
        "and what stands out is cut off evenly; when no size is given, the offered one of the nearest shape is taken.",
    },
    "mask": {
        "type": "string",
        "description": "Where to draw anew: the parts of this picture that are transparent, or when none is, the white "
        "ones. As large as the image. All else stays as it was, pixel by pixel.",
    },
    "strength": {
        "type": "number", "exclusiveMinimum": 0, "maximum": 1,
        "description": f"How much is drawn anew: that share of the steps is taken. {STRENGTH} without a mask, 1 with. "
        "When no steps are given, there are at least as many as it takes for one to be taken.",
    },
}  # fmt: skip


def _sizes(offer: Offer) -> list[str]:
    return [f"{width}x{height}" for width, height in offer.sizes]


def _range(limits: tuple[float, float], default: float) -> Schema:
    return {"minimum": limits[0], "maximum": limits[1], "default": default}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
