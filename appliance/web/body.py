"""Bytes from outside → a plain json object, strictly."""

from __future__ import annotations

from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from appliance import strict_json
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
    value = strict_json.loads(data, "The request")
    if not isinstance(value, dict):
        raise BadInput('The request must be a json object such as {"prompt": "a red apple"}.')
    return value
