"""The document says what the routes do: every route is in it, and every answer validates against it."""

from __future__ import annotations

import re
from typing import Any

import jsonschema  # type: ignore[import-untyped,unused-ignore]
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from appliance.ids import JOB_ID
from appliance.request import MAX_PROMPT
from tests.web.box import Box


@pytest.fixture
def document(box: Box) -> dict[str, Any]:
    found: dict[str, Any] = box.client.get("/openapi.json").get_json()
    return found


def validate(document: dict[str, Any], answer: TestResponse) -> None:
    """Hold one answer to the document, found by its own request."""
    path, operation = find(document, answer.request.path, answer.request.method)
    responses = operation["responses"]
    assert str(answer.status_code) in responses, f"{path} answers {answer.status_code}, which is not documented"
    content = responses[str(answer.status_code)]["content"]
    assert answer.mimetype in content, f"{path}: {answer.mimetype}"
    schema = content[answer.mimetype]["schema"]
    if schema:
        jsonschema.Draft202012Validator(schema | {"components": document["components"]}).validate(answer.get_json())


def find(document: dict[str, Any], path: str, method: str) -> tuple[str, dict[str, Any]]:
    fits = [known for known in document["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", known), path)]
    best = min(fits, key=lambda known: (known.count("{"), -len(known)))
    return best, document["paths"][best][method.lower()]


def test_every_route_is_documented(box: Box, document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    for rule in box.app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<>]+:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operation = document["paths"][path][method.lower()]
            assert operation["summary"]
            assert operation["operationId"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/(\w+)", str(document)):
        assert name in known


def test_schemas_are_schemas(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema | {"components": document["components"]})


def ended_job(box: Box, client: FlaskClient) -> str:
    box.engine.wake(pictures=1)
    job_id = client.post("/v1/jobs", json={"prompt": "a red apple"}).get_json()["id"]
    box.engine.draw()
    return str(job_id)


def test_answers_validate(box: Box, document: dict[str, Any]) -> None:
    client = box.client
    job_id = ended_job(box, client)
    (image,) = client.get(f"/v1/jobs/{job_id}").get_json()["images"]
    queued = client.post("/v1/jobs", json={"prompt": "a red apple", "id": "q"})
    answers = [queued, client.delete("/v1/jobs/q"), client.post("/v1/jobs", json={"prompt": "b", "id": "q"})]
    answers += [
        client.get(path)
        for path in (
            "/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/offer", "/v1/models", "/v1/images",
            "/v1/images?limit=x", f"/v1/images/{image}", f"/v1/images/{image}.png", "/v1/images/x", "/v1/images/x.png",
            f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/progress", f"/v1/jobs/{job_id}/events", "/v1/jobs/x",
            "/v1/jobs/x/events", "/static/nothing.js",
        )
    ]  # fmt: skip
    feedback = f"/v1/images/{image}/feedback"
    answers += [client.post(feedback, json={"feedback": "up"}), client.post(feedback, json={"feedback": 1})]
    for route in ("/v1/jobs", "/v1/images/generations"):
        answers += [
            client.post(route, json={}),
            client.post(route, data="x"),
            client.post(route, json={"prompt": "a"}, headers={"Origin": "http://evil.example"}),
            client.post(route, json={"prompt": "a" * 70_000}),
        ]
    for answer in answers:
        validate(document, answer)
        answer.close()


def test_the_wish_holds_the_bundles_limits(box: Box, document: dict[str, Any]) -> None:
    wish = document["components"]["schemas"]["Wish"]
    check = jsonschema.Draft202012Validator(wish)
    good: list[dict[str, Any]] = [
        {"prompt": "a", "size": "128x128", "steps": 20, "guidance": 4.0, "scheduler": "euler", "seed": 1, "count": 4},
        {"prompt": "a", "width": 192, "height": 128, "negative_prompt": "b", "locale": "es-MX", "expires_in": 60},
        {"prompt": "a", "priority": "high"},
    ]
    assert wish["properties"]["prompt"]["maxLength"] == MAX_PROMPT
    assert wish["properties"]["id"]["pattern"] == f"^{JOB_ID.pattern}$"
    assert wish["properties"]["locale"]["examples"] == ["en", "en-GB", "es", "es-419"]
    for fields in good:
        check.validate(fields)
        assert box.client.post("/v1/jobs", json=fields).status_code == 202
    bad: list[dict[str, Any]] = [{"steps": 51}, {"guidance": 13.0}, {"count": 5}, {"scheduler": "x"}, {"size": "1x1"},
                                 {"x": 1}, {"prompt": ""}, {"priority": "urgent"}]  # fmt: skip
    for fields in [{}, *({"prompt": "a"} | fields for fields in bad)]:
        assert not check.is_valid(fields)
        assert box.client.post("/v1/jobs", json=fields).status_code == 400
