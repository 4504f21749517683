"""What one guest may take, so that an owner always gets in."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.people.access import Role
from appliance.web.limits import MAX_BODY
from appliance.web.services import KEY
from appliance.web.visitors import Visitor
from tests.web.box import Box, make_box, starting_manifest
from tests.web.paired import Paired, Person, make_paired


@pytest.fixture
def paired(tmp_path: Path) -> Iterator[Paired]:
    paired = make_paired(tmp_path, bundle=starting_manifest(), queue_limit=20)
    yield paired
    paired.box.app.extensions[KEY].switchboard.close()


def streams(person: Person, job_id: str, asked: int, held: ExitStack) -> int:
    """How many of so many he gets."""
    answers = [person.ask("GET", f"/v1/jobs/{job_id}/events", buffered=False) for _ in range(asked)]
    for answer in answers:
        held.callback(answer.close)
        if answer.status_code != 200:
            assert answer.status_code == 503
            assert "or you yourself" in answer.get_json()["detail"]
    return [answer.status_code for answer in answers].count(200)


def test_a_guest_who_watches_all_he_can_leaves_the_others_their_places(paired: Paired) -> None:
    owner, guest, other = paired.person(Role.OWNER), paired.person(Role.GUEST), paired.person(Role.GUEST)
    mine, his, anothers = (person.dreams() for person in (owner, guest, other))
    with ExitStack() as held:
        assert streams(guest, his, 22, held) == 5
        refused = guest.ask("POST", "/v1/images/generations", json={"prompt": "a red apple"})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert streams(other, anothers, 1, held) == 1
        assert streams(owner, mine, 10, held) == 10
    with ExitStack() as held:
        assert streams(guest, his, 1, held) == 1


def test_all_guests_together_leave_an_owner_a_place(paired: Paired) -> None:
    owner, guests = paired.person(Role.OWNER), [paired.person(Role.GUEST) for _ in range(5)]
    with ExitStack() as held:
        for guest in guests:
            streams(guest, guest.dreams(), 5, held)
        assert streams(owner, owner.dreams(), 1, held) == 1


def test_whose_own_machine_it_is_may_watch_as_much_as_there_is(tmp_path: Path) -> None:
    """A page with many tabs, programs: on the loopback all of them are one."""
    box: Box = make_box(tmp_path)
    job = box.client.post("/v1/jobs", json={"prompt": "a red apple"}).get_json()["id"]
    with ExitStack() as held:
        streaming = Person(box.app.test_client())
        assert streams(streaming, job, box.limits.max_watchers + 1, held) == box.limits.max_watchers


def test_a_guest_sends_one_photo_at_a_time_and_others_theirs_meanwhile(paired: Paired) -> None:
    owner, guest = paired.person(Role.OWNER), paired.person(Role.GUEST)
    large = {"prompt": "a", "image": base64.b64encode(b"\x89PNG" + b"x" * MAX_BODY).decode()}
    with paired.box.app.extensions[KEY].uploads.seat(Visitor(Role.GUEST, guest.id)):
        assert guest.ask("POST", "/v1/jobs", json=large).status_code == 503
        assert owner.ask("POST", "/v1/jobs", json=large).status_code == 400  # it was read: it is no picture
    assert guest.ask("POST", "/v1/jobs", json=large).status_code == 400


def test_a_guest_fills_a_part_of_the_queue_and_no_more(paired: Paired) -> None:
    owner, guest, other = paired.person(Role.OWNER), paired.person(Role.GUEST), paired.person(Role.GUEST)
    first, *_ = [guest.dreams() for _ in range(5)]
    for path in ("/v1/jobs", "/v1/images/generations"):
        refused = guest.ask("POST", path, json={"prompt": "one more"})
        assert (refused.status_code, "Retry-After" in refused.headers) == (429, True)
        assert "Your share of the queue is full (5 jobs wait, 5 of them yours)" in refused.text
    other.dreams()
    guest.ask("DELETE", f"/v1/jobs/{first}")
    guest.dreams()
    for _ in range(14):
        owner.dreams()
    assert owner.ask("POST", "/v1/jobs", json={"prompt": "one more"}).status_code == 429


def test_a_job_that_is_known_already_needs_no_place(paired: Paired) -> None:
    guest = paired.person(Role.GUEST)
    for n in range(5):
        guest.dreams(id=f"mine-{n}", seed=n)
    assert guest.dreams(id="mine-0", seed=0) == "mine-0"


def test_only_an_owner_passes_those_who_wait(paired: Paired) -> None:
    owner, guest = paired.person(Role.OWNER), paired.person(Role.GUEST)
    first = owner.dreams()
    refused = guest.ask("POST", "/v1/jobs", json={"prompt": "a red apple", "priority": "high"})
    assert refused.status_code == 403
    assert refused.get_json()["detail"] == "Only the box's owner may ask for high priority: leave it out."
    for priority in ("normal", "low"):
        guest.dreams(priority=priority)
    assert owner.ask("GET", f"/v1/jobs/{first}").get_json()["position"] == 1
    urgent = owner.dreams(priority="high")
    assert owner.ask("GET", f"/v1/jobs/{urgent}").get_json()["position"] == 1
