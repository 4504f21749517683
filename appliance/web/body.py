"""Bytes from outside → a plain json object, strictly."""

from __future__ import annotations

import json
from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from appliance.errors import BadInput, TooLarge
from appliance.web.limits import MAX_BODY

_MARKS = 1000


def read_json() -> dict[str, Any]:
    """The request's json object. Raises `BadInput`; a form post (which any web site can send) is refused."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    data = request.get_data(cache=False)
    if request.content_length is None and len(data) >= (request.max_content_length or 0):
        raise RequestEntityTooLarge  # chunked: werkzeug stops at the limit and says nothing
    if len(data) > MAX_BODY and sum(data.count(mark) for mark in b",[{") > _MARKS:
        raise TooLarge(f"Only with a picture may a request be larger than {MAX_BODY >> 10} KiB: send less.")
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_no_duplicates,
        )
    except BadInput:
        raise
    except UnicodeDecodeError:
        raise BadInput("The request is not UTF-8: send json in UTF-8.") from None
    except (ValueError, RecursionError):
        raise BadInput("The request is not valid json: check quotes, commas and brackets.") from None
    if not isinstance(value, dict):
        raise BadInput('The request must be a json object such as {"prompt": "a red apple"}.')
    return value


def _no_constant(name: str) -> None:
    raise BadInput(f"{name} is not json: send a finite number.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise BadInput("A number is too large: send a finite number.")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadInput("The same field is given twice: send each field once.")
    return fields
