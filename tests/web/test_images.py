"""The gallery, the files and the thumbs."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.job import Image, timestamp
from appliance.web.images import file_name
from tests.web.box import Box, png


def drawn(box: Box, prompt: str = "a red apple", **fields: Any) -> list[str]:
    if not box.engine.session:
        box.engine.wake()
    box.client.post("/v1/jobs", json={"prompt": prompt} | fields)
    return list(box.engine.draw().images)


def test_the_newest_first_page_by_page(box: Box) -> None:
    assert box.client.get("/v1/images").get_json() == {"images": []}
    made = [image for n in range(5) for image in drawn(box, f"apple {n}")]
    page = box.client.get("/v1/images?limit=2").get_json()["images"]
    assert [image["id"] for image in page] == made[:2:-1]
    rest = box.client.get(f"/v1/images?limit=100&before={page[-1]['id']}").get_json()["images"]
    assert [image["id"] for image in rest] == made[2::-1]
    assert set(page[0]) >= {"id", "job", "prompt", "seed", "width", "height", "url", "created"}


@pytest.mark.parametrize("limit", ["0", "-1", "101", "x", "1e1", "", "٣", "99999999999"])
def test_a_strange_limit_is_refused(box: Box, limit: str) -> None:
    assert box.client.get(f"/v1/images?limit={limit}").status_code == 400


def test_a_blurred_picture_is_said_to_be(box: Box) -> None:
    (plain,) = drawn(box)
    box.engine.blurs = True
    (blurred,) = drawn(box)
    told = {image["id"]: image["blurred"] for image in box.client.get("/v1/images").get_json()["images"]}
    assert told == {plain: False, blurred: True}
    schemas = box.client.get("/openapi.json").get_json()["components"]["schemas"]
    assert schemas["Image"]["properties"]["blurred"]["type"] == "boolean"


def test_an_entry_equals_the_lists(box: Box) -> None:
    (image,) = drawn(box)
    entry = box.client.get(f"/v1/images/{image}").get_json()
    assert entry == box.client.get("/v1/images").get_json()["images"][0]
    assert entry["url"] == f"/v1/images/{image}.png"


def test_the_file_is_kept_for_ever_and_shown_as_what_it_is(box: Box) -> None:
    (image,) = drawn(box)
    answer = box.client.get(f"/v1/images/{image}.png")
    assert answer.mimetype == "image/png"
    assert answer.data.startswith(b"\x89PNG")
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("inline")
    answer.close()
    again = box.client.get(f"/v1/images/{image}.png", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    again.close()


def test_a_download_has_a_plain_name(box: Box) -> None:
    (image,) = drawn(box, 'Ñandú "fast"; rm -rf\\/ ☔ ../etc', seed=7)
    answer = box.client.get(f"/v1/images/{image}.png?download=1")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="ensueno-nandu-fast-rm-rf-etc-7.png"'
    answer.close()


def test_a_name_without_latin_letters_still_is_one() -> None:
    picture = Image(
        id="x", job="x", prompt="雨の中の猫", seed=3, width=8, height=8, url="/x", created=timestamp(0)
    )  # fmt: skip
    assert file_name(picture) == "ensueno-3.png"


@pytest.mark.parametrize("name", ["nothing", "..%2f..%2fjournal.db", "%00", "0" * 26, "a" * 300])
def test_unknown_pictures_are_404(box: Box, name: str) -> None:
    for path in (f"/v1/images/{name}", f"/v1/images/{name}.png", f"/v1/images/{name}.png?download=1"):
        assert box.client.get(path).status_code == 404, path
    assert box.client.post(f"/v1/images/{name}/feedback", json={"feedback": "up"}).status_code == 404


def test_the_file_of_an_unfinished_or_cancelled_job_is_404(box: Box) -> None:
    box.engine.wake()
    job_id = box.client.post("/v1/jobs", json={"prompt": "a red apple"}).get_json()["id"]
    claimed = box.engine.claim()
    (image,) = claimed.images
    box.store.save(image, png())
    assert box.client.get(f"/v1/images/{image}.png").status_code == 404
    box.client.delete(f"/v1/jobs/{job_id}")
    box.journal.stop(box.engine.session, job_id)
    assert box.client.get(f"/v1/images/{image}.png").status_code == 404


def test_a_thumb_is_kept_changed_and_taken_back(box: Box) -> None:
    (image,) = drawn(box)
    for thumb in ("up", "down", None):
        answer = box.client.post(f"/v1/images/{image}/feedback", json={"feedback": thumb})
        assert answer.get_json()["feedback"] == thumb
        assert box.client.get(f"/v1/images/{image}").get_json()["feedback"] == thumb


@pytest.mark.parametrize("body", [{}, {"feedback": "sideways"}, {"feedback": 1}, {"feedback": "up", "x": 1}])
def test_a_strange_thumb_is_refused(box: Box, body: Any) -> None:
    (image,) = drawn(box)
    assert box.client.post(f"/v1/images/{image}/feedback", json=body).status_code == 400
