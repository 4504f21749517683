"""OpenAI's route, with OpenAI's own client against a live server and a thread that plays the engine.

What it does not prove: that a real engine draws within the wait. The end-to-end tests hold that.
"""

from __future__ import annotations

import base64
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from werkzeug.serving import make_server

from appliance.job import Job, JobState
from appliance.web import Limits
from appliance.web.openai import _IGNORED, understand
from appliance.web.services import KEY
from tests.web.box import Box, Painter, make_box


@contextmanager
def served(box: Box) -> Iterator[str]:
    """The app on a free loopback port."""
    server = make_server("127.0.0.1", 0, box.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        box.app.extensions[KEY].switchboard.close()
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def client(box: Box) -> Iterator[openai.OpenAI]:
    with served(box) as url, Painter(box.engine, pace=0.001).at_work(), open_client(url) as client:
        yield client


def open_client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=20)


def test_the_real_client_gets_a_picture(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a red apple", response_format="b64_json", size="192x128")
    assert answer.data is not None
    picture = base64.b64decode(answer.data[0].b64_json or "")
    assert picture.startswith(b"\x89PNG")
    assert answer.created > 1_700_000_000
    assert answer.data[0].url is None


def test_urls_lead_to_the_files(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="dall-e-3", prompt="a red apple", n=2, size="auto", quality="hd")
    assert answer.data is not None
    assert len(answer.data) == 2
    for image in answer.data:
        assert image.url is not None
        with urllib.request.urlopen(image.url) as file:
            assert file.read(4) == b"\x89PNG"


def test_newer_models_names_give_base64(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="gpt-image-1", prompt="a red apple", background="opaque")
    assert answer.data is not None
    assert answer.data[0].b64_json


def test_extensions_travel(client: openai.OpenAI, box: Box) -> None:
    client.images.generate(prompt="a red apple", extra_body={"seed": 42, "steps": 3, "negative_prompt": "worm"})
    (image,) = box.journal.gallery.images()
    request = box.journal.job(image.job).request
    assert (request.seed, request.steps, request.negative_prompt) == (42, 3, "worm")


def test_an_unsupported_size_is_refused_in_openais_envelope(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="a red apple", size="1024x1024")
    assert caught.value.type == "invalid_request_error"
    assert "128x128" in str(caught.value)


def test_a_failed_job_is_an_error_that_is_not_tried_again(client: openai.OpenAI, box: Box) -> None:
    with pytest.raises(openai.InternalServerError, match="told to fail"):
        client.with_options(max_retries=3).images.generate(prompt="please fail")
    assert box.journal.counts()[JobState.FAILED] == 1


def test_the_list_of_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["little-dream"]


@pytest.mark.parametrize(
    "fields",
    [{"n": 5}, {"n": 1, "count": 1}, {"response_format": "jpeg"}, {"output_format": "webp"}, {"stream": True},
     {"background": "transparent"}, {"n": "2"}, {"colour": "red"}],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused(box: Box, fields: dict[str, object]) -> None:
    answer = box.client.post("/v1/images/generations", json={"prompt": "a red apple"} | fields)
    assert answer.status_code == 400
    assert answer.get_json()["error"]["type"] == "invalid_request_error"
    assert sum(box.journal.counts().values()) == 0


def test_the_wait_is_bounded_and_the_job_is_cancelled(tmp_path: Path) -> None:
    box = make_box(tmp_path, Limits(wait_limit=0.02))
    answer = box.client.post("/v1/images/generations", json={"prompt": "a red apple"})
    assert answer.status_code == 503
    assert answer.headers["X-Should-Retry"] == "false"
    assert "/v1/jobs" in answer.get_json()["error"]["message"]
    assert box.journal.counts()[JobState.CANCELLED] == 1


def test_a_client_that_goes_takes_its_job_along(box: Box) -> None:
    with served(box) as url:
        with pytest.raises(openai.APITimeoutError), open_client(url) as client:
            client.with_options(timeout=0.3).images.generate(prompt="a red apple")
        services = box.app.extensions[KEY]
        (job_id,) = [row[0] for row in box.journal.database.connection.execute("SELECT id FROM jobs")]
        with services.switchboard.subscribe(job_id) as subscription:
            while not box.journal.job(job_id).state.ended:
                assert subscription.wait(10), "the job was not cancelled"
        assert box.journal.job(job_id).state is JobState.CANCELLED


def test_a_wait_that_cannot_begin_accepts_no_job_and_holds_no_seat(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise FileNotFoundError

    monkeypatch.setattr(box.board, "bell", broken)
    assert box.client.post("/v1/images/generations", json={"prompt": "a red apple"}).status_code == 500
    assert box.app.extensions[KEY].seats.taken == 0
    assert sum(box.journal.counts().values()) == 0


def test_a_job_that_somebody_else_cancels_is_said_to_be_cancelled(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = box.journal.submit

    def cancelled_at_once(*args: Any, **fields: Any) -> tuple[Job, bool]:
        job, new = submit(*args, **fields)
        return box.journal.cancel(job.id), new

    monkeypatch.setattr(box.journal, "submit", cancelled_at_once)
    answer = box.client.post("/v1/images/generations", json={"prompt": "a red apple"})
    assert answer.status_code == 409
    assert answer.headers["X-Should-Retry"] == "false"
    error = answer.get_json()["error"]
    assert error["code"] == "cancelled"
    assert "seconds" not in error["message"]


def test_a_stopping_box_says_so(box: Box) -> None:
    box.app.extensions[KEY].switchboard.close()
    answer = box.client.post("/v1/images/generations", json={"prompt": "a red apple"})
    assert answer.status_code == 503
    assert "stopping" in answer.get_json()["error"]["message"]
    assert box.journal.counts()[JobState.CANCELLED] == 1


def test_reading_the_route_is_not_a_missing_picture(box: Box) -> None:
    answer = box.client.get("/v1/images/generations")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert "GET" not in answer.headers["Allow"]
    assert "POST" in answer.get_json()["error"]["message"]


@pytest.mark.parametrize("name", sorted(_IGNORED))
def test_what_is_left_aside_is_named(box: Box, name: str) -> None:
    assert name in (understand.__doc__ or "")
    services = box.app.extensions[KEY]
    assert understand({"prompt": "a", name: "x"}, services) == understand({"prompt": "a"}, services)


def test_waits_are_bounded_like_streams(tmp_path: Path) -> None:
    box = make_box(tmp_path, Limits(max_watchers=0))
    answer = box.client.post("/v1/images/generations", json={"prompt": "a red apple"})
    assert answer.status_code == 503
    assert sum(box.journal.counts().values()) == 0
