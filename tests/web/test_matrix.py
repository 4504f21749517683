"""Every route of the app × whoever may ask: from the app's own table, so that no route is forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from appliance.people.access import Role
from appliance.web.gate import TOKEN
from appliance.web.rules import RULES, hold
from appliance.web.services import KEY
from tests.web.box import make_box, starting_manifest
from tests.web.paired import Paired, Person, make_paired

GUEST, OWNER = Role.GUEST, Role.OWNER
BODIES = {
    "jobs.submit": {"prompt": "a red apple"},
    "images.feedback": {"feedback": "up"},
    "keeping.favourite": {"favourite": False},
    "openai.generations": {"prompt": "a red apple", "size": "big"},  # refused late, so that nobody waits for a picture
    "openai.edits": {"prompt": "a red apple", "image": "x"},
    "pairing.pair": {"pin": "0000 0000"},
    "pairing.invite": {"role": "guest"},
}
ANYBODY = {"page.page", "page.static", "health.healthz", "health.readyz", "pairing.who", "pairing.pair"}
# what these two answer to whom they let in, besides what is good (below 300)
LATE = {"openai.generations": {400}, "openai.edits": {400}, "pairing.pair": {401}, "health.readyz": {200}}
OF_SOMEBODY = {"jobs.look", "jobs.cancel", "events.progress", "events.stream", "images.entry", "images.file",
               "images.feedback", "keeping.remove"}  # fmt: skip


def table() -> list[tuple[Rule, str]]:
    """Every route and method of a box."""
    app = _app()
    return [
        (rule, method)
        for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.endpoint)
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"})
    ]


def _app() -> Flask:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return make_box(Path(folder)).app


TABLE = table()
every_route = pytest.mark.parametrize(("rule", "method"), TABLE, ids=[f"{m} {rule.rule}" for rule, m in TABLE])
changing = [(rule, method) for rule, method in TABLE if method != "GET"]
every_change = pytest.mark.parametrize(("rule", "method"), changing, ids=[f"{m} {rule.rule}" for rule, m in changing])

WRONG = ("Bearer wrong", "Bearer", "Basic b3duZXI6b3duZXI=", "bearer \xff", "Bearer " + "x" * 3000)
FOREIGN_NAMES = ("evil.example", "attic.local.evil.example", "evil.local", "localhost.evil.example:80", "",
                 "attic@evil.example", "evil.example#attic", "[::1", "a b")  # fmt: skip
FOREIGN_SITES = (
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://[::"}, {"Origin": "http://localhost:81"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
)  # fmt: skip


class World:
    """An owner, two guests, and what one guest dreamed; whoever leaves is let in again."""

    def __init__(self, folder: Path) -> None:
        self.at: Paired = make_paired(folder, bundle=starting_manifest(), queue_limit=10_000)
        self.owner, self.guest, self.other = self.at.person(OWNER), self.at.person(GUEST), self.at.person(GUEST)
        self.nobody = self.at.visitor()
        self.at.box.engine.wake()
        self.dream()
        self.leaving = self.at.person(GUEST, "about to be revoked")

    def dream(self) -> None:
        """Of the guest."""
        self.done = self.guest.dreams()
        while (drawn := self.at.box.engine.draw()).id != self.done:
            pass
        self.picture = drawn.images[0]

    def ask(self, person: Person, rule: Rule, method: str, headers: dict[str, str] | None = None) -> TestResponse:
        """The route, about the guest's things."""
        own = {"job_id": self.done, "image_id": self.picture, "key_id": self.leaving.id, "name": "page.css"}
        path = re.sub(r"<(?:[^<>]+:)?(\w+)>", lambda found: own[found[1]], rule.rule)
        body = BODIES.get(rule.endpoint)
        more = {} if body is None else {"json": body}
        answer = person.ask(method, path, headers, **more)
        answer.get_data()
        answer.close()
        if rule.endpoint == "keeping.remove" and answer.status_code == 200:
            self.dream()
        for gone in (self.owner, self.guest, self.other, self.leaving):
            if gone.id not in {key.id for key in self.at.access.people()}:
                vars(gone).update(vars(self.at.person(OWNER if gone is self.owner else GUEST)))
        return answer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.at.box.app.extensions[KEY].switchboard.close()


def let_in(rule: Rule, answer: TestResponse) -> bool:
    return answer.status_code < 300 or answer.status_code in LATE.get(rule.endpoint, ())


def test_a_route_without_a_rule_and_a_rule_without_a_route_keep_the_box_from_starting() -> None:
    app = _app()
    hold(app)
    app.add_url_rule("/v1/new", "new.route", lambda: "")
    with pytest.raises(LookupError, match=r"new\.route"):
        hold(app)
    with pytest.raises(LookupError, match=r"jobs\.submit"):
        hold(Flask("empty", static_folder=None))


def test_the_open_routes_are_these_and_no_others() -> None:
    assert {endpoint for endpoint, least in RULES.items() if least is None} == ANYBODY


@every_route
def test_nobody_gets_in(world: World, rule: Rule, method: str) -> None:
    answer = world.ask(world.nobody, rule, method)
    if rule.endpoint in ANYBODY:
        assert let_in(rule, answer) or answer.status_code == 503
    else:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@every_route
def test_a_guest_gets_what_is_a_guests(world: World, rule: Rule, method: str) -> None:
    answer = world.ask(world.guest, rule, method)
    if RULES[rule.endpoint] is OWNER:
        assert answer.status_code == 403
    else:
        assert let_in(rule, answer) or (rule.endpoint, answer.status_code) == ("health.readyz", 503)


@every_route
def test_another_guest_finds_nothing_of_the_first(world: World, rule: Rule, method: str) -> None:
    answer = world.ask(world.other, rule, method)
    if RULES[rule.endpoint] is OWNER:
        assert answer.status_code == 403
    elif rule.endpoint in OF_SOMEBODY:
        assert answer.status_code == 404
    else:
        assert let_in(rule, answer) or (rule.endpoint, answer.status_code) == ("health.readyz", 503)


@every_route
def test_an_owner_gets_everything(world: World, rule: Rule, method: str) -> None:
    answer = world.ask(world.owner, rule, method)
    assert let_in(rule, answer) or (rule.endpoint, answer.status_code) == ("health.readyz", 503), answer.text


@every_route
def test_a_program_with_a_token_needs_no_page(world: World, rule: Rule, method: str) -> None:
    answer = world.ask(world.at.visitor(), rule, method, world.at.program(OWNER))
    assert let_in(rule, answer) or (rule.endpoint, answer.status_code) == ("health.readyz", 503), answer.text


@every_route
def test_a_wrong_token_is_nobodys_even_beside_an_owners_cookie(world: World, rule: Rule, method: str) -> None:
    for sent in WRONG:
        for person in (world.nobody, world.owner):
            answer = world.ask(person, rule, method, {"Authorization": sent})
            assert (answer.status_code == 401) >= (rule.endpoint not in ANYBODY), sent


@every_route
def test_a_foreign_name_finds_no_box(world: World, rule: Rule, method: str) -> None:
    for host in FOREIGN_NAMES:
        for person in (world.nobody, world.owner):
            assert world.ask(person, rule, method, {"Host": host}).status_code == 421, host


@pytest.mark.parametrize("host", ["attic", "ATTIC.local:8080", "attic.local.", "192.168.1.23:8080", "[fe80::1]:8080"])
def test_the_boxs_own_names_and_any_number_find_it(world: World, host: str) -> None:
    assert world.owner.ask("GET", "/v1/offer", {"Host": host}).status_code in (200, 401)  # a cookie is of one name
    assert world.nobody.ask("GET", "/", {"Host": host}).status_code == 200


@every_route
def test_another_site_gets_nothing_even_in_an_owners_name(world: World, rule: Rule, method: str) -> None:
    for header in FOREIGN_SITES:
        assert world.ask(world.owner, rule, method, header).status_code == 403, header


@every_change
def test_a_change_by_cookie_needs_the_pages_own_token(world: World, rule: Rule, method: str) -> None:
    before = world.at.box.journal.counts(), world.at.access.people()
    for person in (world.owner, world.guest):
        for token in ("", "wrong", "\xff", world.other.token):
            assert world.ask(person, rule, method, {TOKEN: token}).status_code == 403
    assert (world.at.box.journal.counts(), world.at.access.people()) == before


@every_route
def test_nothing_that_says_where_one_comes_from_is_believed(world: World, rule: Rule, method: str) -> None:
    for name in ("X-Forwarded-For", "X-Real-IP", "X-Forwarded-User", "Remote-User"):
        answer = world.ask(world.nobody, rule, method, {name: "127.0.0.1"})
        assert (answer.status_code == 401) >= (rule.endpoint not in ANYBODY), name
    told = {"Host": "evil.example", "X-Forwarded-Host": "attic", "Forwarded": "for=127.0.0.1;host=attic"}
    assert world.ask(world.owner, rule, method, told).status_code == 421


@every_route
def test_who_was_revoked_is_nobody(world: World, rule: Rule, method: str) -> None:
    revoked = world.at.person(OWNER, "to be revoked")
    world.at.access.revoke(revoked.id)
    if rule.endpoint not in ANYBODY:
        assert world.ask(revoked, rule, method).status_code == 401
