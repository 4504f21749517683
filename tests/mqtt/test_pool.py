"""A pool over a real broker: one owner for each job, whoever dies, and one end."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from appliance.job import JobState
from mqtt import topics
from mqtt.messages import Claim
from mqtt.pool import LEASE, Claims
from tests.mqtt.broker import Broker
from tests.mqtt.rig import Ear, Rig, until

Make = Callable[..., Any]


def claim(device: str, epoch: int, **more: Any) -> Claim:
    return Claim(job="j", device=device, epoch=epoch, lease=LEASE, **more)


def test_the_first_claim_of_an_epoch_owns_and_the_second_does_not() -> None:
    claims = Claims("b")
    claims.heard("j", claim("a", 1), 0.0)
    claims.heard("j", claim("b", 1), 0.0)
    assert claims.owner("j", 1.0) == "a"


def test_a_claim_that_is_not_renewed_dies_and_the_next_epoch_owns() -> None:
    claims = Claims("b")
    claims.heard("j", claim("a", 1), 0.0)
    assert claims.owner("j", LEASE + 1) is None
    assert claims.next_epoch("j") == 2
    claims.heard("j", claim("b", 2), LEASE + 1)
    claims.heard("j", claim("a", 1), LEASE + 2)
    assert claims.owner("j", LEASE + 3) == "b"


def test_an_ended_jobs_claim_does_not_die() -> None:
    claims = Claims("b")
    claims.heard("j", claim("a", 1, ended=True), 0.0)
    assert claims.owner("j", 1e6) == "a"


@pytest.fixture
def pool(name: str) -> str:
    return f"pool-{name}"


@pytest.fixture
def boxes(make_box: Make, name: str, pool: str) -> list[Rig]:
    made = [make_box(f"{name}{letter}", pool=pool) for letter in "ab"]
    until(lambda: all(box.link.pool is not None and box.link.pool.shares for box in made), *made)
    return made


@pytest.fixture
def ear(make_ear: Make, pool: str) -> Ear:
    made: Ear = make_ear(topics.reply(pool), topics.claims(pool))
    return made


def ends(ear: Ear, pool: str) -> list[dict[str, Any]]:
    return [body for body in ear.bodies(topics.reply(pool)) if body["kind"] == "end"]


def ask(ear: Ear, pool: str, job_id: str) -> None:
    wish = {"id": job_id, "prompt": "an apple", "pool": pool}
    ear.say(topics.pool_jobs(pool), wish, response_topic=topics.reply(pool))


def test_each_job_of_a_pool_is_drawn_by_one_box(boxes: list[Rig], ear: Ear, pool: str) -> None:
    for number in range(6):
        ask(ear, pool, f"job-{number}")
    until(lambda: len(ends(ear, pool)) >= 6, *boxes, ear)
    assert sorted(end["id"] for end in ends(ear, pool)) == [f"job-{number}" for number in range(6)]
    assert sum(len(box.journal.gallery.images()) for box in boxes) == 6
    assert all(box.journal.gallery.images() for box in boxes)


def test_many_more_jobs_than_a_box_takes_at_once_all_end(boxes: list[Rig], ear: Ear, pool: str) -> None:
    jobs = {f"job-{number}" for number in range(14)}
    asked = 0.0

    def all_ended() -> bool:
        nonlocal asked
        left = jobs - {end["id"] for end in ends(ear, pool)}
        if time.monotonic() - asked > 1.0:  # as each requester does
            asked = time.monotonic()
            for job_id in sorted(left):
                ask(ear, pool, job_id)
        return not left

    until(all_ended, *boxes, ear)
    assert sum(len(box.journal.gallery.images()) for box in boxes) == len(jobs)


def test_asked_again_the_other_box_names_the_owner(boxes: list[Rig], ear: Ear, pool: str) -> None:
    for box in boxes:
        box.draws = False
    for _ in range(4):
        ask(ear, pool, "a")
    until(lambda: {"claimed", "accepted"} <= set(ear.kinds(topics.reply(pool))), *boxes, ear)
    owners = {body["owner"] for body in ear.bodies(topics.reply(pool)) if body["kind"] == "claimed"}
    accepted = {body["device"] for body in ear.bodies(topics.reply(pool)) if body["kind"] == "accepted"}
    assert owners == accepted
    assert len(owners) == 1


def test_a_box_that_does_not_draw_takes_none_and_the_other_takes_all(boxes: list[Rig], ear: Ear, pool: str) -> None:
    broken, sound = boxes
    broken.beat(pictures=0)
    until(lambda: broken.link.pool is not None and not broken.link.pool.shares, *boxes)
    for number in range(3):
        ask(ear, pool, f"job-{number}")
    until(lambda: len(ends(ear, pool)) == 3, *boxes, ear)
    assert {end["device"] for end in ends(ear, pool)} == {sound.name}


def test_a_prompt_to_two_boxes_one_killed_is_one_picture_and_the_late_run_is_suppressed(
    boxes: list[Rig], ear: Ear, pool: str, make_ear: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt.pool.LEASE", 1.0)
    monkeypatch.setattr("mqtt.pool.RENEW", 0.3)
    for box in boxes:
        box.draws = False
    ask(ear, pool, "a")
    until(lambda: "accepted" in ear.kinds(topics.reply(pool)), *boxes, ear)
    dead = next(box for box in boxes if sum(box.journal.counts().values()))
    alive = next(box for box in boxes if box is not dead)
    dead.die()
    alive.draws = True

    def asked_until_it_ends() -> bool:
        if not alive.journal.counts()[JobState.QUEUED] and not ends(ear, pool):
            ask(ear, pool, "a")
        return bool(ends(ear, pool))

    until(asked_until_it_ends, alive, ear)
    dead.draws = True
    dead.rise()
    until(lambda: not dead.link._ends.open and dead.journal.job("a").state.ended, dead, alive, ear)
    assert {end["device"] for end in ends(ear, pool)} == {alive.name}
    assert len({end["images"][0]["id"] for end in ends(ear, pool)}) == 1  # asked often, told often, drawn once
    assert dead.link.pool is not None
    assert dead.link.pool.doubles == 1
    newcomer = make_ear(topics.claim(pool, "a"))
    until(lambda: newcomer.heard, dead, newcomer)  # what the broker keeps is still the word of the one that drew it
    assert [newcomer.bodies(topics.claim(pool, "a"))[0][key] for key in ("device", "ended")] == [alive.name, True]


MANY = 3000  # three times what Debian's Mosquitto holds back for one client


def say_many_claims(ear: Ear, pool: str) -> None:
    """As after a busy hour: the claims of jobs that another box has ended."""
    for number in range(MANY):
        topic, payload = topics.claim(pool, f"old-{number}"), claim("ghost", 1, ended=True).as_bytes()
        until(partial(ear.connection.publish, topic, payload, retain=True, expiry=3600), ear)


def test_a_box_that_comes_to_thousands_of_claims_takes_jobs_and_none_that_has_ended(
    make_box: Make, make_ear: Make, own_mosquitto: Broker, name: str, pool: str
) -> None:
    url = own_mosquitto.url
    speaker = make_ear(url=url)
    say_many_claims(speaker, pool)
    ear, box = make_ear(topics.reply(pool), url=url), make_box(name, pool=pool, url=url)
    until(lambda: box.link.pool.shares, box)
    for job_id in ("new", "old-0", f"old-{MANY - 1}"):
        ask(ear, pool, job_id)
    until(lambda: len(ends(ear, pool)) == 1 and ear.kinds(topics.reply(pool)).count("claimed") == 2, box, ear)
    assert [end["id"] for end in ends(ear, pool)] == ["new"]
    claimed = [body for body in ear.bodies(topics.reply(pool)) if body["kind"] == "claimed"]
    assert {(body["id"], body["owner"]) for body in claimed} == {("old-0", "ghost"), (f"old-{MANY - 1}", "ghost")}


def test_a_box_that_was_away_while_thousands_were_claimed_takes_jobs_again(
    make_box: Make, make_ear: Make, own_mosquitto: Broker, name: str, pool: str
) -> None:
    url = own_mosquitto.url
    box, ear = make_box(name, pool=pool, url=url), make_ear(topics.reply(pool), url=url)
    until(lambda: box.link.pool.shares, box)
    box.die()
    say_many_claims(ear, pool)
    box.rise()
    until(lambda: box.link.pool.shares, box)
    ask(ear, pool, "new")
    until(lambda: ends(ear, pool), box, ear)


def test_a_dead_boxs_claim_does_not_live_again_because_the_broker_keeps_it(
    make_box: Make, make_ear: Make, name: str, pool: str
) -> None:
    box, ear = make_box(name, pool=pool), make_ear(topics.reply(pool))
    until(lambda: box.link.pool.shares, box)
    dead = Claim(job="a", device="ghost", epoch=1, lease=LEASE)
    ear.say(topics.claim(pool, "a"), dead.as_bytes(), retain=True)
    claims = box.link.pool.claims
    until(lambda: claims.holder("a") == ("ghost", 1), box)
    claims._known["a"].read -= LEASE + 1  # so long ago
    ask(ear, pool, "a")
    until(lambda: ends(ear, pool), box, ear)
    assert "claimed" not in ear.kinds(topics.reply(pool))
    assert claims.holder("a") == (name, 2)


def test_another_body_for_a_job_does_not_take_its_claim_away(
    make_box: Make, make_ear: Make, name: str, pool: str
) -> None:
    box, ear = make_box(name, pool=pool), make_ear(topics.reply(pool), topics.claims(pool))
    until(lambda: box.link.pool.shares, box)
    box.draws = False
    ask(ear, pool, "a")
    until(lambda: "accepted" in ear.kinds(topics.reply(pool)), box, ear)
    wish = {"id": "a", "prompt": "a pear", "pool": pool}
    ear.say(topics.pool_jobs(pool), wish, response_topic=topics.reply(pool))
    until(lambda: "rejected" in ear.kinds(topics.reply(pool)), box, ear)
    box.draws = True
    until(lambda: ends(ear, pool), box, ear)
    assert all(one.payload for one in ear.heard if one.topic == topics.claim(pool, "a"))


def test_a_job_may_bear_any_name_that_a_fence_might(boxes: list[Rig], ear: Ear, pool: str) -> None:
    job_id = f"fence-{boxes[0].name}"
    ask(ear, pool, job_id)
    until(lambda: ends(ear, pool), *boxes, ear)
