"""Whatever bytes arrive, the answer is a 4xx in the API's one voice, never a 5xx."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.web.limits import max_body
from tests.web.box import Box

ROUTES = ["/v1/jobs", "/v1/images/generations", "/v1/images/00000000000000000000000000/feedback"]
BROKEN = {
    "nothing": b"",
    "cut": b'{"prompt": "a',
    "not an object": b'["a red apple"]',
    "text": b'"a red apple"',
    "null": b"null",
    "not utf-8": b'{"prompt": "\xff\xfe"}',
    "a byte order mark": b'\xef\xbb\xbf{"prompt": "a"}',
    "nan": b'{"prompt": "a", "guidance": NaN}',
    "infinity": b'{"prompt": "a", "guidance": Infinity}',
    "minus infinity": b'{"prompt": "a", "guidance": -Infinity}',
    "a float too large": b'{"prompt": "a", "guidance": 1e999}',
    "twice": b'{"prompt": "a", "prompt": "b"}',
    "deep": b'{"prompt": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep objects": b'{"a":' * 9_000 + b"1" + b"}" * 9_000,
    "a lone surrogate": b'{"prompt": "\\ud800"}',
    "a lone surrogate in a name": b'{"prompt": "a", "\\udfff": 1}',
    "a lone surrogate as scheduler": b'{"prompt": "a", "scheduler": "\\ud800"}',
    "a lone surrogate as locale": b'{"prompt": "a", "locale": "\\ud800"}',
    "a lone surrogate as size": b'{"prompt": "a", "size": "\\ud800"}',
    "a lone surrogate as format": b'{"prompt": "a", "response_format": "\\ud800"}',
    "a huge integer": b'{"prompt": "a", "seed": ' + b"9" * 4_000 + b"}",
    "a huger integer": b'{"prompt": "a", "seed": ' + b"9" * 60_000 + b"}",
    "a huge guidance": b'{"prompt": "a", "guidance": ' + b"9" * 4_000 + b"}",
    "huge steps": b'{"prompt": "a", "steps": ' + b"9" * 4_000 + b"}",
    "a nul": b'{"prompt": "a\\u0000b"}',
    "an unknown field": b'{"prompt": "a", "colour": "red"}',
    "an empty prompt": b'{"prompt": "   "}',
    "no prompt": b"{}",
    "a prompt of the wrong kind": b'{"prompt": 7}',
    "a long prompt": json.dumps({"prompt": "a" * 2001}).encode(),
    "a size not offered": b'{"prompt": "a", "size": "1024x1024"}',
    "a strange size": b'{"prompt": "a", "size": "big"}',
    "a strange seed": b'{"prompt": "a", "seed": -1}',
    "a boolean seed": b'{"prompt": "a", "seed": true}',
}  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_broken_bodies_are_400(box: Box, route: str, body: bytes) -> None:
    answer = box.client.post(route, data=body, content_type="application/json")
    assert answer.status_code == 400, answer.text
    sentence = detail(answer.get_json())
    assert sentence.endswith((".", '"red"')), sentence
    assert "Traceback" not in answer.text
    assert sum(box.journal.counts().values()) == 0


def detail(body: dict[str, Any]) -> str:
    """The one sentence, in either envelope."""
    return str(body["error"]["message"] if "error" in body else body["detail"])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["prompt", "negative_prompt", "negative", "size", "width", "height", "steps", "guidance", "scheduler", "seed",
     "count", "locale", "id", "expires_in", "n", "response_format", "background", "stream", "feedback", "model",
     "guidance_scale", "num_inference_steps", "priority"]
)  # fmt: skip


@settings(max_examples=150)
@given(fields=st.dictionaries(FIELDS, JSON, max_size=5), route=st.sampled_from([ROUTES[0], ROUTES[2]]))
def test_no_json_makes_the_box_stumble(box: Box, fields: dict[str, Any], route: str) -> None:
    answer = box.client.post(route, data=json.dumps(fields), content_type="application/json")
    assert answer.status_code in (202, 400, 404, 409, 429), answer.text
    if answer.status_code != 202:
        assert answer.get_json()["detail"]


@settings(max_examples=100)
@given(body=st.binary(max_size=300), route=st.sampled_from(ROUTES))
def test_no_bytes_make_the_box_stumble(box: Box, body: bytes, route: str) -> None:
    assert box.client.post(route, data=body, content_type="application/json").status_code == 400


@pytest.mark.parametrize("route", ROUTES)
def test_a_large_body_is_refused_by_its_length(box: Box, route: str) -> None:
    class Untouched:
        def read(self, *_: object) -> bytes:
            raise AssertionError("the body was read")

        readline = read

    answer = box.client.open(
        route,
        method="POST",
        environ_overrides={
            "wsgi.input": Untouched(), "CONTENT_LENGTH": str(max_body(route) + 1), "CONTENT_TYPE": "application/json"
        },
    )  # fmt: skip
    assert answer.status_code == 413
    assert f"{max_body(route) >> 10} KiB" in detail(answer.get_json())


def test_only_pictures_may_be_large(box: Box) -> None:
    """Many small values would take many times their length in memory."""
    body = b'{"prompt": "a", "seed": [' + b"[]," * 40_000 + b"[]]}"
    assert box.client.post("/v1/jobs", data=body, content_type="application/json").status_code == 413


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_what_a_foreign_form_can_send_is_refused(box: Box, route: str, kind: str) -> None:
    answer = box.client.post(route, data='{"prompt": "a red apple"}', content_type=kind)
    assert answer.status_code == 415
    assert "application/json" in detail(answer.get_json())


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Origin": "null"},
                                    {"Origin": "http://[::"}, {"Sec-Fetch-Site": "cross-site"},
                                    {"Origin": "http://localhost:81"}, {"Origin": "file://localhost"}])  # fmt: skip
def test_every_route_that_changes_something_refuses_other_sites(box: Box, header: dict[str, str]) -> None:
    for rule in box.app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}:
            path = rule.rule.replace("<job_id>", "x").replace("<image_id>", "x")
            answer = box.client.open(path, method=method, json={"prompt": "a"}, headers=header)
            assert answer.status_code == 403, (method, path)
    assert sum(box.journal.counts().values()) == 0


def test_the_boxs_own_page_and_programs_are_welcome(box: Box) -> None:
    for header in ({"Origin": "http://localhost"}, {"Origin": "http://localhost:80"}, {}):
        assert box.client.post("/v1/jobs", json={"prompt": "a"}, headers=header).status_code == 202


def test_unknown_addresses_and_methods_speak_the_same_voice(box: Box) -> None:
    missing = box.client.get("/v1/nothing")
    assert (missing.status_code, missing.content_type) == (404, "application/problem+json")
    assert missing.get_json()["title"] == "Not found"
    wrong = box.client.put("/v1/jobs/x", json={})
    assert wrong.status_code == 405
    assert "DELETE" in wrong.headers["Allow"]
    assert "DELETE" in wrong.get_json()["detail"]
    assert box.client.get("/v1/jobs").status_code == 405


def test_a_fault_of_ours_is_500_without_a_trace(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(job_id: str) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(box.journal, "job", broken)
    answer = box.client.get("/v1/jobs/x")
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert "secret" not in answer.text


def test_every_answer_carries_the_headers(box: Box) -> None:
    for path in ("/", "/v1/offer", "/v1/nothing", "/healthz", "/static/page.css", "/metrics"):
        headers = box.client.get(path).headers
        assert "script-src 'self'" in headers["Content-Security-Policy"], path
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
