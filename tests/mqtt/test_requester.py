"""What the requester asks, where and when: without a network and without a clock."""

from __future__ import annotations

import base64
import hashlib
import itertools
from typing import Any

import pytest

from appliance.errors import BadInput, Unavailable
from mqtt import topics
from mqtt.messages import Accepted, Claimed, End, Picture, Rejected
from mqtt.requester import LONGEST_PATIENCE, SILENCES, Asking, Target, png_of


@pytest.fixture
def asking() -> Asking:
    return Asking("a", b"{}", topics.pool_jobs("p"), deadline=1000.0)


def picture(**changes: Any) -> Picture:
    data = b"png"
    plain = {
        "id": "1", "seed": 1, "width": 64, "height": 64, "bytes": len(data), "url": None,
        "sha256": hashlib.sha256(data).hexdigest(), "png": base64.b64encode(data).decode(),
    }  # fmt: skip
    return Picture(**(plain | changes))


def test_it_asks_again_and_again_less_and_less_often(asking: Asking) -> None:
    times: list[float] = []
    now = 0.0
    while len(times) < 6:
        if asking.due(now):
            times.append(now)
            asking.asked(now)
        now += 0.5
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_PATIENCE


def test_it_follows_the_box_that_answered_and_goes_back_to_the_pool_when_that_is_silent(asking: Asking) -> None:
    asking.hear(Claimed(id="a", device="other", owner="mine").as_bytes(), 0.0)
    assert asking.where == topics.jobs("mine")
    for _ in range(SILENCES):
        asking.asked(1.0)
    assert asking.where == topics.pool_jobs("p")


def test_the_first_end_counts_and_what_is_no_answer_is_passed_over(asking: Asking) -> None:
    for payload in (b"", b"\xff", b"[]", b'{"kind": "end"}', End(id="b", device="x", state="failed").as_bytes()):
        asking.hear(payload, 0.0)
    assert not asking.over
    asking.hear(End(id="a", device="first", state="finished").as_bytes(), 0.0)
    asking.hear(End(id="a", device="second", state="failed").as_bytes(), 0.0)
    assert asking.end is not None
    assert asking.end.device == "first"


def test_not_now_is_no_end_and_never_is_one(asking: Asking) -> None:
    asking.hear(Accepted(id="a", device="x", state="queued").as_bytes(), 0.0)
    refused = Rejected(id="a", device="x", reason="queue_full", detail="Full.", retry=True)
    asking.hear(refused.as_bytes(), 0.0)
    assert not asking.over
    assert asking.where == topics.pool_jobs("p")
    asking.hear(refused.model_copy(update={"retry": False, "reason": "bad_input"}).as_bytes(), 0.0)
    assert asking.over


def test_one_box_or_a_pool_and_with_neither_the_pool_that_all_join() -> None:
    assert Target.of("box", None).topic == topics.jobs("box")
    assert Target.of(None, None).topic == topics.pool_jobs(topics.POOL)
    with pytest.raises(BadInput, match="not both"):
        Target.of("box", "pool")
    with pytest.raises(BadInput, match="cannot name a device"):
        Target.of("a/b", None)


def test_a_damaged_picture_is_noticed() -> None:
    assert png_of(picture()) == b"png"
    with pytest.raises(Unavailable, match="damaged"):
        png_of(picture(sha256="0" * 64))
    with pytest.raises(Unavailable, match="damaged"):
        png_of(picture(png="abc"))
    for url in ("http://a b/", "http://[::1", "http://127.0.0.1:x/"):
        with pytest.raises(Unavailable, match="cannot be reached"):
            png_of(picture(png=None, url=url))
    with pytest.raises(Unavailable, match="no address"):
        png_of(picture(png=None, url="file:///etc/passwd"))
