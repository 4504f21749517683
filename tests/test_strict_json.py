"""What comes from outside is json or one sentence."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import strict_json
from appliance.errors import BadInput

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_json_is_what_it_says(value: Any) -> None:
    assert strict_json.loads(json.dumps(value).encode(), "It") == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_sentence(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        value = strict_json.loads(data, "It")
        assert not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "It is not valid json"),
        (b"\xff", "It is not UTF-8"),
        (b"[" * 100_000, "It is not valid json"),
        (b"NaN", "NaN is not json"),
        (b"-Infinity", "-Infinity is not json"),
        (b"1e999", "too large"),
        (b'{"a": 1, "a": 2}', "The same field is given twice"),
        (b'[{"a": {"b": 1, "b": 1}}]', "The same field is given twice"),
    ],
)
def test_what_is_none_is_one_sentence(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        strict_json.loads(data, "It")
