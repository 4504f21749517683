"""Favourites and deleting, by the API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.box import Box
from tests.web.test_images import drawn


def test_a_favourite_is_kept_and_let_go(box: Box) -> None:
    (image,) = drawn(box)
    assert box.client.get(f"/v1/images/{image}").get_json()["favourite"] is False
    for wanted in (True, False):
        answer = box.client.post(f"/v1/images/{image}/favourite", json={"favourite": wanted})
        assert answer.get_json()["favourite"] is wanted
        assert box.client.get("/v1/images").get_json()["images"][0]["favourite"] is wanted


@pytest.mark.parametrize("body", [{}, {"favourite": "yes"}, {"favourite": 1}, {"favourite": True, "x": 1}, []])
def test_a_strange_favourite_is_refused(box: Box, body: Any) -> None:
    (image,) = drawn(box)
    assert box.client.post(f"/v1/images/{image}/favourite", json=body).status_code == 400


def test_a_deleted_picture_is_gone_everywhere(box: Box) -> None:
    first, second = drawn(box, count=2)
    path = box.store.path(first)
    answer = box.client.delete(f"/v1/images/{first}")
    assert (answer.status_code, answer.get_json()["id"]) == (200, first)
    assert not path.exists()
    for gone in (f"/v1/images/{first}", f"/v1/images/{first}.png"):
        assert box.client.get(gone).status_code == 404
    assert box.client.delete(f"/v1/images/{first}").status_code == 404
    assert [image["id"] for image in box.client.get("/v1/images").get_json()["images"]] == [second]
    assert box.client.get(f"/v1/jobs/{answer.get_json()['job']}").get_json()["images"] == [second]


@pytest.mark.parametrize("name", ["0" * 26, "nothing", "..%2f..%2fjournal.db"])
def test_nobodys_picture_is_404(box: Box, name: str) -> None:
    assert box.client.delete(f"/v1/images/{name}").status_code == 404
    assert box.client.post(f"/v1/images/{name}/favourite", json={"favourite": True}).status_code == 404
