"""Pictures to start from, through the API: json, forms, ids of the box, and OpenAI's own client."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image
from werkzeug.test import TestResponse

from appliance.picture import Picture
from appliance.web.limits import UPLOADS
from appliance.web.services import KEY
from appliance.web.visitors import HERE
from tests.web.box import Box, Painter, make_box, png, starting_manifest
from tests.web.test_openai import open_client, served
from tests.web.test_openapi import validate


@pytest.fixture
def able(tmp_path: Path) -> Iterator[Box]:
    """A box whose bundle has an encoder."""
    box = make_box(tmp_path, bundle=starting_manifest())
    yield box
    box.app.extensions[KEY].switchboard.close()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def hole(size: tuple[int, int] = (192, 128)) -> bytes:
    """A PNG that is transparent on its left half."""
    image = Image.new("RGBA", size, (10, 200, 30, 255))
    image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def asked(box: Box, answer: TestResponse) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    validate(box.client.get("/openapi.json").get_json(), answer)
    request: dict[str, Any] = answer.get_json()["request"]
    return request


def test_json_and_a_form_ask_for_the_same(able: Box) -> None:
    fields = {"prompt": "a red apple", "seed": 7, "strength": 0.5, "size": "192x128"}
    told = asked(able, able.client.post("/v1/jobs", json={**fields, "image": base64_of(png()), "id": "mine"}))
    form = {name: str(value) for name, value in fields.items()} | {"image": (io.BytesIO(png()), "a.png"), "id": "mine"}
    assert asked(able, able.client.post("/v1/jobs", data=form)) == told
    assert (told["strength"], told["mask"], len(told["image"])) == (0.5, None, 64)


def test_a_form_with_a_photo_of_a_mebibyte_is_read(able: Box) -> None:
    """Larger than every buffer on its way."""
    photo = io.BytesIO()
    Image.effect_noise((1000, 750), 90).convert("RGB").save(photo, "PNG")
    assert photo.tell() > 1 << 20
    part = b'--x\r\nContent-Disposition: form-data; name="%s"'
    body = part % b"prompt" + b"\r\n\r\na\r\n" + part % b"image" + b'; filename="a.png"\r\n\r\n'
    body += photo.getvalue() + b"\r\n--x--\r\n"
    answer = able.client.post("/v1/jobs", data=body, content_type="multipart/form-data; boundary=x")
    assert asked(able, answer)["width"] == 192


def test_another_picture_under_the_same_id_is_a_conflict(able: Box) -> None:
    for seed, status in ((1, 202), (2, 409), (1, 202)):
        body = {"prompt": "a", "id": "mine", "image": base64_of(png(64, 64, seed))}
        assert able.client.post("/v1/jobs", json=body).status_code == status


def test_a_picture_of_the_box_is_named_by_its_id(able: Box) -> None:
    job = able.client.post("/v1/jobs", json={"prompt": "a red apple"}).get_json()
    able.engine.wake()
    (image_id,) = able.engine.draw().images
    first = asked(able, able.client.post("/v1/jobs", json={"prompt": "b", "image": image_id}))
    sent = base64_of(able.store.path(image_id).read_bytes())
    assert asked(able, able.client.post("/v1/jobs", json={"prompt": "b", "image": sent}))["image"] == first["image"]
    unknown = able.client.post("/v1/jobs", json={"prompt": "b", "image": "0" * 26})
    assert (unknown.status_code, job["state"]) == (404, "queued")


@pytest.mark.parametrize(
    "fields",
    [{"image": "x"}, {"image": 5}, {"image": ""}, {"image": base64_of(png()[:50])}, {"mask": base64_of(png())},
     {"strength": 0.5}, {"image": base64_of(png()), "strength": 2}, {"image": base64_of(png()), "mask": "!"}],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_and_leaves_nothing(able: Box, fields: dict[str, Any], tmp_path: Path) -> None:
    answer = able.client.post("/v1/jobs", json={"prompt": "a"} | fields)
    assert answer.status_code == 400
    assert answer.get_json()["detail"].endswith(".")
    assert not (tmp_path / "inputs").exists()


def test_a_form_with_the_same_field_twice_is_refused(able: Box) -> None:
    files = [(io.BytesIO(png()), "a.png"), (io.BytesIO(png()), "b.png")]
    answer = able.client.post("/v1/jobs", data={"prompt": "a", "image[]": files})
    assert (answer.status_code, "twice" in answer.text) == (400, True)


@pytest.mark.parametrize("body", [b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n--x--", b"junk"])
def test_a_broken_form_is_400(able: Box, body: bytes) -> None:
    answer = able.client.post("/v1/jobs", data=body, content_type="multipart/form-data; boundary=x")
    assert answer.status_code == 400


def test_another_web_site_cannot_post_the_form(able: Box) -> None:
    form = {"prompt": "a", "image": (io.BytesIO(png()), "a.png")}
    assert able.client.post("/v1/jobs", data=form, headers={"Origin": "https://evil.example"}).status_code == 403


def test_a_bundle_without_an_encoder_says_so_and_does_not_document_it(box: Box) -> None:
    answer = box.client.post("/v1/jobs", json={"prompt": "a", "image": base64_of(png())})
    assert (answer.status_code, "cannot start from a picture" in answer.text) == (400, True)
    schemas = box.client.get("/openapi.json").get_json()["components"]["schemas"]
    assert "image" not in schemas["Wish"]["properties"]
    assert box.client.get("/v1/offer").get_json()["pictures"] is False


def test_a_box_that_can_says_so(able: Box) -> None:
    document = able.client.get("/openapi.json").get_json()
    content = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert {"image", "mask", "strength"} <= document["components"]["schemas"]["WishForm"]["properties"].keys()
    assert able.client.get("/v1/offer").get_json()["pictures"] is True


def test_a_few_large_pictures_are_taken_at_a_time(able: Box) -> None:
    uploads = able.app.extensions[KEY].uploads
    for _ in range(UPLOADS):
        uploads.take(HERE)
    large = {"prompt": "a", "image": base64_of(b"\x89PNG" + b"x" * 70_000)}
    answer = able.client.post("/v1/jobs", json=large)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert able.client.post("/v1/jobs", json={"prompt": "a", "image": base64_of(png())}).status_code == 202
    uploads.give_back(HERE)
    assert able.client.post("/v1/jobs", json=large).status_code == 400
    assert uploads.taken == UPLOADS - 1


@pytest.fixture
def client(able: Box) -> Iterator[openai.OpenAI]:
    with served(able) as url, Painter(able.engine, pace=0.001).at_work(), open_client(url) as client:
        yield client


def last_request(box: Box) -> Any:
    return box.journal.job(box.journal.gallery.images(1)[0].job).request


def test_openais_client_edits_a_picture(client: openai.OpenAI, able: Box) -> None:
    answer = client.images.edit(image=("a.png", png(192, 128)), prompt="with snow", response_format="b64_json", n=2)
    assert answer.data is not None
    assert base64.b64decode(answer.data[0].b64_json or "").startswith(b"\x89PNG")
    request = last_request(able)
    assert (request.width, request.count, request.strength, request.mask) == (192, 2, 0.6, None)


def test_openais_mask_is_drawn_anew_where_it_is_transparent(client: openai.OpenAI, able: Box) -> None:
    client.images.edit(
        image=("a.png", png(192, 128)), mask=("m.png", hole()), prompt="x", size="auto", model="dall-e-2"
    )
    explicit = last_request(able)
    left = b"P5\n192 128\n255\n" + (b"\xff" * 96 + b"\0" * 96) * 128
    assert explicit.mask == Picture.of(left)
    assert explicit.strength == 1.0
    client.images.edit(image=[("a.png", hole())], prompt="x", extra_body={"strength": 0.5, "seed": 3})
    own = last_request(able)
    assert (own.mask, own.strength, own.seed) == (explicit.mask, 0.5, 3)


def test_openais_errors_keep_its_envelope(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=("a.png", b"no picture"), prompt="x")
    assert caught.value.type == "invalid_request_error"
    assert "PNG, JPEG or WebP" in str(caught.value)
    with pytest.raises(openai.BadRequestError, match="1024x1024"):
        client.images.edit(image=("a.png", png()), prompt="x", size="1024x1024")


def test_an_edit_without_a_picture_is_refused(able: Box) -> None:
    answer = able.client.post("/v1/images/edits", json={"prompt": "x"})
    assert (answer.status_code, "image is missing" in answer.get_json()["error"]["message"]) == (400, True)
