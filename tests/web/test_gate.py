"""What the matrix does not ask: how much, in what time, and what a cookie is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import TooMany
from appliance.job import Job, JobState
from appliance.people.access import Role
from appliance.web import Limits
from appliance.web.connection import client_address
from appliance.web.gate import TOKEN, meant
from appliance.web.rates import Buckets, Rate
from tests.conftest import Clock
from tests.web.paired import ENOUGH, TRIES, Paired, make_paired

NAMES = frozenset({"localhost", "attic", "attic.local"})
FREE = Limits(requests=ENOUGH, changes=ENOUGH, bodies=ENOUGH, tries=ENOUGH)


@pytest.fixture
def paired(tmp_path: Path) -> Paired:
    return make_paired(tmp_path)


def test_a_browsers_cookie_is_for_the_browser_alone(paired: Paired) -> None:
    person = paired.visitor()
    answer = person.ask("POST", "/v1/pair", json={"pin": paired.access.invite(Role.GUEST), "name": "Ana"})
    cookie = answer.headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="):
        assert part in cookie
    assert "Secure" not in cookie  # this test speaks http; test_tls.py has the other
    secret = cookie.split(";")[0].split("=", 1)[1]
    assert secret not in answer.text
    assert len(secret) >= 43


def test_a_program_gets_a_token_and_no_cookie(paired: Paired) -> None:
    person = paired.visitor()
    answer = person.ask("POST", "/v1/pair", json={"pin": paired.access.invite(Role.GUEST), "program": True})
    assert "Set-Cookie" not in answer.headers
    told = answer.get_json()
    assert told["token"] is None
    bearer = {"Authorization": f"Bearer {told['secret']}"}
    assert person.ask("GET", "/v1/offer", bearer).status_code == 200
    assert person.ask("POST", "/v1/jobs", bearer, json={"prompt": "a"}).status_code == 202


def test_one_who_leaves_is_nobody(paired: Paired) -> None:
    person = paired.person(Role.GUEST)
    assert person.ask("DELETE", "/v1/pair").status_code == 200
    assert person.ask("GET", "/v1/offer").status_code == 401
    assert person.ask("GET", "/v1/pair").get_json() == {
        "role": None, "open": False, "name": "", "id": None, "token": None, "secret": None
    }  # fmt: skip


def test_while_nobody_can_be_looked_up_nobody_is_let_in_and_nobody_is_forgotten(paired: Paired, tmp_path: Path) -> None:
    person, kept = paired.person(Role.OWNER), tmp_path / "kept"
    pin = paired.access.invite(Role.OWNER)
    (tmp_path / "access.json").rename(kept)
    (tmp_path / "access.json").mkdir()  # cannot be read, by root either
    assert person.ask("GET", "/v1/offer").status_code == 401
    assert person.ask("GET", "/v1/pair").get_json()["role"] is None
    for path in ("/", "/healthz"):
        assert person.ask("GET", path).status_code == 200
    answer = person.ask("POST", "/v1/pair", json={"pin": pin})
    assert answer.status_code == 409
    assert "access.json cannot be used" in answer.get_json()["detail"]
    (tmp_path / "access.json").rmdir()
    kept.rename(tmp_path / "access.json")
    assert person.ask("GET", "/v1/offer").status_code == 200


def test_the_stream_of_one_who_is_let_go_ends(paired: Paired) -> None:
    owner, guest = paired.person(Role.OWNER), paired.person(Role.GUEST)
    paired.box.engine.wake()
    path = f"/v1/jobs/{guest.dreams()}/events"
    with guest.ask("GET", path, buffered=False) as answer:
        stream = answer.iter_encoded()
        assert next(stream).startswith(b"retry:")
        assert next(stream).startswith(b"event: progress")
        owner.ask("DELETE", f"/v1/people/{guest.id}")
        paired.box.engine.draw()
        assert list(stream) == []
    assert guest.ask("GET", path).status_code == 401


def test_who_is_let_go_while_he_waits_for_a_picture_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paired = make_paired(tmp_path, replace(FREE, wait_limit=20.0))
    guest, submit = paired.person(Role.GUEST), paired.box.journal.submit

    def let_go_meanwhile(*args: Any, **fields: Any) -> tuple[Job, bool]:
        job = submit(*args, **fields)
        paired.access.revoke(guest.id)
        return job

    monkeypatch.setattr(paired.box.journal, "submit", let_go_meanwhile)
    answer = guest.ask("POST", "/v1/images/generations", json={"prompt": "a red apple"})
    assert (answer.status_code, "you waited" in answer.get_json()["error"]["message"]) == (401, True)
    assert paired.box.journal.counts()[JobState.CANCELLED] == 1


@pytest.mark.parametrize("body", [{}, {"pin": "12345678", "password": "x"}, {"pin": 12345678}, {"pin": None},
                                  {"pin": "12345678", "role": "owner"}, {"pin": "1" * 100},
                                  {"password": "x" * 999}])  # fmt: skip
def test_what_is_neither_pin_nor_password_is_400(paired: Paired, body: dict[str, object]) -> None:
    assert paired.visitor().ask("POST", "/v1/pair", json=body).status_code == 400


def test_five_tries_a_client_and_then_a_wait_also_for_the_password(tmp_path: Path) -> None:
    paired = make_paired(tmp_path, tries=TRIES)
    paired.access.set_password("correct horse")
    person = paired.visitor()
    found = [person.ask("POST", "/v1/pair", json={"password": f"guess {n}"}).status_code for n in range(7)]
    assert found == [401] * 5 + [429] * 2
    answer = person.ask("POST", "/v1/pair", json={"password": "correct horse"})
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


@pytest.mark.parametrize(
    ("limits", "asks"),
    [
        (replace(FREE, requests=Rate(3, 0.001, "slow")), ("GET", "/v1/offer", {})),
        (replace(FREE, changes=Rate(3, 0.001, "slow")), ("POST", "/v1/jobs", {"json": {"prompt": "a"}})),
        (replace(FREE, bodies=Rate(60, 0.001, "slow")), ("POST", "/v1/jobs", {"json": {"prompt": "a"}})),
    ],
    ids=["requests", "changes", "bytes"],
)
def test_who_asks_too_much_is_told_to_wait_and_nobody_else(
    tmp_path: Path, limits: Limits, asks: tuple[str, str, dict[str, object]]
) -> None:
    paired = make_paired(tmp_path, limits)
    flood, other = paired.program(Role.OWNER), paired.program(Role.GUEST)
    method, path, more = asks
    person = paired.visitor()
    found = [person.ask(method, path, flood, **more).status_code for _ in range(8)]
    assert found[0] < 300
    assert found[-1] == 429
    assert sorted(found) == found
    assert person.ask("GET", "/v1/offer", other).status_code == 200
    assert person.ask("GET", "/healthz", flood).status_code == 200  # a watchdog asks whatever else goes on


def test_addresses_are_those_of_the_connection(tmp_path: Path) -> None:
    paired = make_paired(tmp_path, replace(FREE, requests=Rate(2, 0.001, "slow")))
    client = paired.visitor().client
    for n in range(2):
        answer = client.get("/", headers={"X-Forwarded-For": f"10.0.0.{n}"}, environ_base={"REMOTE_ADDR": "10.1.1.1"})
        assert answer.status_code == 200
    forged = {"X-Forwarded-For": "10.0.0.9", "Forwarded": "for=10.0.0.9"}
    assert client.get("/", headers=forged, environ_base={"REMOTE_ADDR": "10.1.1.1"}).status_code == 429
    assert client.get("/", environ_base={"REMOTE_ADDR": "10.1.1.2"}).status_code == 200


def test_one_devices_many_addresses_are_one() -> None:
    assert client_address("2001:db8::1") == client_address("2001:db8::ffff:1") != client_address("2001:db8:0:1::1")
    assert client_address("::ffff:10.0.0.1") == client_address("10.0.0.1") == "10.0.0.1"
    assert client_address("fe80::1%eth0") == client_address("fe80::2")
    assert client_address("::1") == "::1"
    assert client_address(None) == client_address("") == "unknown"


def test_a_bucket_fills_again_and_forgets_the_quiet() -> None:
    clock = Clock(0.0)
    buckets = Buckets(Rate(2, 0.5, "slow"), clock)
    buckets.take("a")
    buckets.take("a")
    with pytest.raises(TooMany) as refused:
        buckets.take("a")
    assert refused.value.retry_after == pytest.approx(2.0)
    clock.now += 2.0
    buckets.take("a")
    for n in range(5000):
        buckets.take(str(n))
    assert len(buckets._levels) <= 2000


def test_more_than_a_whole_bucket_is_taken_when_it_is_full_and_owed() -> None:
    clock = Clock(0.0)
    buckets = Buckets(Rate(10, 1, "slow"), clock)
    buckets.take("a", 25)
    clock.now += 15.0
    with pytest.raises(TooMany):
        buckets.take("a")
    clock.now += 1.0
    buckets.take("a")


@given(st.text(max_size=60))
def test_no_text_makes_a_strange_host_ours(host: str) -> None:
    if meant(host, NAMES):
        name = host.lower().rpartition(":")[0] if ":" in host and not host.endswith("]") else host.lower()
        assert name.strip("[]").rstrip(".") in NAMES or set(name) <= set("0123456789abcdef.:[]%")


def test_the_pages_own_token_is_of_no_use_to_another(paired: Paired) -> None:
    ana, luis = paired.person(Role.GUEST), paired.person(Role.GUEST)
    assert ana.token != luis.token
    assert luis.ask("POST", "/v1/jobs", {TOKEN: ana.token}, json={"prompt": "a"}).status_code == 403


def test_a_picture_of_another_is_nothing_to_start_from(tmp_path: Path) -> None:
    from tests.web.box import starting_manifest

    paired = make_paired(tmp_path, bundle=starting_manifest())
    paired.box.engine.wake()
    ana, luis = paired.person(Role.GUEST), paired.person(Role.GUEST)
    ana.dreams()
    picture = paired.box.engine.draw().images[0]
    assert luis.ask("POST", "/v1/jobs", json={"prompt": "a", "image": picture}).status_code == 404
    assert ana.ask("POST", "/v1/jobs", json={"prompt": "a", "image": picture}).status_code == 202


def test_anothers_job_id_is_taken_and_tells_nothing(paired: Paired) -> None:
    ana, luis = paired.person(Role.GUEST), paired.person(Role.GUEST)
    ana.dreams("a", id="mine", seed=1)
    answer = luis.ask("POST", "/v1/jobs", json={"prompt": "a", "id": "mine", "seed": 1})
    assert answer.status_code == 409
    assert ana.ask("POST", "/v1/jobs", json={"prompt": "a", "id": "mine", "seed": 1}).status_code == 202
