"""A box that is open to a network, and who comes to it: all over the test client, so no address is real."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from appliance.people.access import Access, Role
from appliance.web import Limits
from appliance.web.gate import TOKEN
from appliance.web.limits import TRIES
from appliance.web.rates import Rate
from tests.conftest import Clock
from tests.web.box import Box, make_box

NAMES = frozenset({"localhost", "attic", "attic.local"})
ENOUGH = Rate(1e9, 1e9, "never")


@dataclass
class Person:
    """Somebody with a browser of his own; `token` is what his page has read."""

    client: FlaskClient
    token: str = ""
    id: str = ""

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> TestResponse:
        """As his page does."""
        own = {TOKEN: self.token} if self.token else {}
        return self.client.open(path, method=method, headers=own | (headers or {}), **more)

    def dreams(self, prompt: str = "a red apple", **fields: Any) -> str:
        """The id of a job of his."""
        answer = self.ask("POST", "/v1/jobs", json={"prompt": prompt} | fields)
        assert answer.status_code == 202, answer.text
        return str(answer.get_json()["id"])


@dataclass
class Paired:
    """The box, its access, and the time of that."""

    box: Box
    access: Access
    now: Clock = field(default_factory=Clock)

    def visitor(self) -> Person:
        """Nobody yet."""
        return Person(self.box.app.test_client())

    def person(self, role: Role, name: str = "Ana") -> Person:
        """Paired with a PIN, as anybody would be."""
        person = self.visitor()
        answer = person.ask("POST", "/v1/pair", json={"pin": self.access.invite(role), "name": name})
        assert answer.status_code == 201, answer.text
        person.token, person.id = answer.get_json()["token"], answer.get_json()["id"]
        return person

    def program(self, role: Role) -> dict[str, str]:
        """The header of a program."""
        return {"Authorization": f"Bearer {self.access.issue(role, 'a program')[1]}"}


def make_paired(folder: Path, limits: Limits | None = None, tries: Rate = ENOUGH, **more: Any) -> Paired:
    """A box that was opened to a network; only what `limits` names is rare."""
    now = Clock()
    access = Access(folder / "access.json", now=now, boot="boot-1")
    limits = limits or Limits(heartbeat=0.2, requests=ENOUGH, changes=ENOUGH, bodies=ENOUGH, tries=tries)
    addresses = lambda: ["http://192.168.1.23:8080"]  # noqa: E731
    return Paired(make_box(folder, limits, access=access, hosts=NAMES, addresses=addresses, **more), access, now)


__all__ = ["TRIES", "Paired", "Person", "make_paired"]
