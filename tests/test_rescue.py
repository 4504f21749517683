"""A gallery comes back from its pictures' own files, once, and nothing is invented."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from appliance import png
from appliance.ids import new_id
from appliance.images import ImageStore
from appliance.job import JobState
from appliance.journal import Journal
from appliance.request import GenerationRequest, Offer
from appliance.rescue import rescue

PIXELS = np.full((8, 8, 3), 128, dtype=np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def kept(store: ImageStore, request: GenerationRequest, index: int, at: float, blurred: bool = False) -> str:
    """A picture as the engine stores it."""
    data = png.encode_with_request(PIXELS, request, index, engine="openvino", bundle="tiny 0.0.1", blurred=blurred)
    name = new_id()
    os.utime(store.save(name, data), (at, at))
    return name


def test_pictures_are_shown_again_with_what_their_files_tell(
    store: ImageStore, tmp_path: Path, tiny_offer: Offer
) -> None:
    asked = GenerationRequest.of({"prompt": "una montaña", "seed": 41, "count": 2, "locale": "es"}, tiny_offer)
    older = kept(store, asked, 1, at=1000.0)
    newer = kept(store, GenerationRequest.of({"prompt": "a cat", "seed": 7}, tiny_offer), 0, at=2000.0, blurred=True)
    assert rescue(tmp_path / "journal.db", tmp_path / "images") == 2
    journal = Journal(tmp_path / "journal.db")
    first, second = journal.gallery.images()
    assert (first.id, first.prompt, first.seed, first.blurred) == (newer, "a cat", 7, True)
    assert (second.id, second.prompt, second.seed, second.blurred) == (older, "una montaña", 42, False)
    assert second.created.timestamp() == 1000.0
    job = journal.job(second.job)
    assert (job.state, job.engine, job.images) == (JobState.FINISHED, "openvino", [older])
    assert (job.request.seed, job.request.count, job.request.locale) == (42, 1, "es")


def test_a_second_look_finds_nothing_new_and_known_pictures_stay_as_they_are(
    store: ImageStore, tmp_path: Path, tiny_offer: Offer
) -> None:
    kept(store, GenerationRequest.of({"prompt": "a cat", "seed": 7}, tiny_offer), 0, at=1.0)
    journal = Journal(tmp_path / "journal.db", reserve=0)
    waiting, _ = journal.submit(GenerationRequest.of({"prompt": "a dog", "seed": 8}, tiny_offer))
    (half_made,) = journal.gallery.open_images()
    store.save(half_made, png.encode_with_request(PIXELS, waiting.request, 0, engine="e", bundle="b"))
    assert rescue(tmp_path / "journal.db", tmp_path / "images") == 1
    assert rescue(tmp_path / "journal.db", tmp_path / "images") == 0
    assert [image.prompt for image in journal.gallery.images()] == ["a cat"]
    assert journal.job(waiting.id).state is JobState.QUEUED


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", png.encode(PIXELS)], ids=range(4))
def test_a_file_that_tells_nothing_is_left_alone(store: ImageStore, tmp_path: Path, data: bytes) -> None:
    path = store.save(new_id(), data)
    assert rescue(tmp_path / "journal.db", tmp_path / "images") == 0
    assert path.read_bytes() == data


def test_where_nothing_was_drawn_nothing_is_found(tmp_path: Path) -> None:
    assert rescue(tmp_path / "journal.db", tmp_path / "images") == 0


def test_what_was_found_can_be_deleted_kept_and_asked_for_again(
    store: ImageStore, tmp_path: Path, tiny_offer: Offer
) -> None:
    name = kept(store, GenerationRequest.of({"prompt": "a cat", "seed": 7}, tiny_offer), 0, at=1.0)
    rescue(tmp_path / "journal.db", tmp_path / "images")
    gallery = Journal(tmp_path / "journal.db").gallery
    assert gallery.older(0.0) == []  # it may have been a favourite
    assert gallery.favourite(name, True).favourite
    gallery.forget(name)
    store.remove(name)
    assert rescue(tmp_path / "journal.db", tmp_path / "images") == 0
