"""A wish as it arrives: json or a form with files, its pictures by file, by base64 or by their id on this box.

Only a route that takes pictures takes a large body, a few at a time, so that a box with little memory can hold them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import request

from appliance.errors import BadInput
from appliance.ids import ULID
from appliance.web.body import read_json
from appliance.web.connection import Hurried
from appliance.web.limits import MAX_BODY, UPLOAD_PATIENCE
from appliance.web.services import Services
from appliance.web.visitors import visitor

FORM = "multipart/form-data"
_FORM_PARTS = 64
_FORM_MEMORY = 4 * MAX_BODY  # of the text parts; the reader's own buffer of 64 KiB counts too
_NUMBERS = frozenset({"width", "height", "steps", "num_inference_steps", "guidance", "guidance_scale", "seed", "count",
                      "strength", "expires_in", "n"})  # fmt: skip
_SWITCHES = {"true": True, "false": False}


@contextmanager
def wish(box: Services) -> Iterator[dict[str, Any]]:
    """The fields that were sent, for as long as they are turned into a request. Raises `BadInput`, `NotFound`,
    `Unavailable` when too many large ones arrive at once."""
    length = request.content_length
    with box.uploads.seat(visitor()) if length is None or length > MAX_BODY else contextlib.nullcontext():
        if length is not None and length > MAX_BODY:
            _more_patience()
        fields = _read_form() if request.mimetype == FORM else read_json()
        for name in ("image", "mask"):
            value = fields.get(name)
            if isinstance(value, str) and ULID.fullmatch(value):
                box.journal.gallery.image(value, visitor().sees)
                fields[name] = box.store.path(value).read_bytes()
        yield fields


def _read_form() -> dict[str, Any]:
    """Text parts become numbers where a number is meant; files are bytes. Clients write `image[]` for a list of one."""
    request.max_form_memory_size = _FORM_MEMORY
    request.max_form_parts = _FORM_PARTS
    parts: list[tuple[str, Any]] = [(name, _value(name, text)) for name, text in request.form.items(multi=True)]
    for name, file in request.files.items(multi=True):
        with contextlib.closing(file):  # a large one lies in a temporary file
            parts.append((name.removesuffix("[]"), file.read()))
    fields = dict(parts)
    if len(fields) != len(parts):
        raise BadInput("The same field is given twice: send each field once, and one image.")
    return fields


def _value(name: str, text: str) -> Any:
    if name == "stream":
        return _SWITCHES.get(text, text)
    if name not in _NUMBERS:
        return text
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?[0-9]{1,9}\.[0-9]{1,18}", text) else text


def _more_patience() -> None:
    """A photo takes longer to arrive than a sentence."""
    sock = request.environ.get("gunicorn.socket")
    if isinstance(sock, Hurried):
        sock.deadline += UPLOAD_PATIENCE
