"""Json from outside, strictly: UTF-8, finite numbers, no field twice; whatever else it is, is one sentence."""

from __future__ import annotations

import json
from typing import Any

from appliance.errors import BadInput


def loads(data: bytes, what: str) -> Any:
    """The value that `data` says; `what` (The request, The message) begins the sentence. Raises `BadInput`."""
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_no_duplicates,
        )
    except BadInput:
        raise
    except UnicodeDecodeError:
        raise BadInput(f"{what} is not UTF-8: send json in UTF-8.") from None
    except (ValueError, RecursionError):
        raise BadInput(f"{what} is not valid json: check quotes, commas and brackets.") from None


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
