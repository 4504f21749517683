"""Broken and strange requests by the box's own /openapi.json, from one seed: `python -m tests.web.fuzz --cases 10000`.

For each route group so many cases: no answer may be a 5xx (a box without an engine may say 503 where that is
documented), each must be documented, and each must be what the document says. In this process, over the app itself:
that gunicorn reads what a socket brings is held by test_server.py.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import string
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped,unused-ignore]
from werkzeug.test import TestResponse

from appliance.ids import new_id
from appliance.people.access import Role
from appliance.web import Limits
from appliance.web.gate import TOKEN
from tests.web.box import png, starting_manifest
from tests.web.paired import ENOUGH, Paired, Person, make_paired

QUICK = Limits(wait_limit=0.001, stream_life=0.0, requests=ENOUGH, changes=ENOUGH, bodies=ENOUGH, tries=ENOUGH)
MAY_BE_503 = ("/readyz", "/v1/images/generations", "/v1/images/edits")
STRANGE = ["", " ", "../../etc/passwd", "..%2f..%2f", "%00", "\x00", "a" * 3000, "\ud800", "💤", "null", "-1", "1e999",
           "NaN", "<script>", "';--", "\r\nX: y", "0" * 26, "Z" * 26, "../" * 9, "{}", "[]", "//", "\\", "ñ",
           "True"]  # fmt: skip
TEMPTING = ["__proto__", "constructor", "id", "size", "count", "image", "mask", "role", "asker", "origin", "state"]


@dataclass
class Tally:
    """What came of it."""

    cases: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Fuzzer:
    """One box, its document, and one source of chance."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.at: Paired = make_paired(folder, QUICK, bundle=starting_manifest(), queue_limit=30)
        self.at.box.engine.wake()
        self.people = [self.at.person(Role.OWNER), self.at.person(Role.GUEST), self.at.visitor()]
        self.known = [self.people[1].dreams(f"wish {n}") for n in range(3)]
        self.pictures = [image for _ in range(3) for image in self.at.box.engine.draw().images]
        self.document: dict[str, Any] = self.people[0].ask("GET", "/openapi.json").get_json()
        self.operations: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                group = operation["operationId"].split("_")[0]
                self.operations.setdefault(group, []).append((method.upper(), path, operation))
        self.validators: dict[str, Any] = {}
        self.tally = Tally()

    def group(self, name: str, cases: int) -> None:
        """So many cases of one group."""
        while self.tally.cases[name] < cases:
            self.tally.cases[name] += self.case(*self.chance.choice(self.operations[name]))
            if self.tally.cases[name] % 200 == 0:
                self._tidy()

    def case(self, method: str, path: str, operation: dict[str, Any]) -> bool:
        """One request and what must be true of its answer; False when a client cannot even say it."""
        person = self.chance.choices(self.people, (4, 4, 1))[0]
        url = re.sub(r"{\w+}", lambda found: self._name(), path)
        asked = {"query_string": self._query(operation), "headers": self._headers(person)} | self._body(operation)
        try:
            answer = person.client.open(url, method=method, **asked)
            answer.get_data()
        except (UnicodeError, ValueError):  # half characters and line ends
            return False
        self.tally.answers[answer.status_code] += 1
        trouble = self._trouble(path, operation, url, answer)
        answer.close()
        if trouble:
            self.tally.wrong.append(f"{method} {url[:80]!r} {str(asked)[:300]}: {trouble}")
        return True

    def _trouble(self, path: str, operation: dict[str, Any], url: str, answer: TestResponse) -> str | None:
        status = answer.status_code
        if status >= 500 and not (status == 503 and path in MAY_BE_503):
            return f"{status} {answer.data[:200]!r}"
        if b"Traceback" in answer.data[:2000]:
            return "a traceback"
        named = url.split("?")[0]
        if not re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), named) or status in (405, 308):
            return None  # another route's, or none's: the error handler's voice is all
        documented = operation["responses"].get(str(status))
        if documented is None:
            return None if status == 404 else f"{status} is not documented"
        content = documented["content"]
        if "*/*" in content or status == 304:
            return None
        if answer.mimetype not in content:
            return f"{answer.mimetype} is not documented for {status}"
        schema = content[answer.mimetype]["schema"]
        if schema and (answer.mimetype or "").endswith("json"):
            key = json.dumps(schema)
            if key not in self.validators:
                whole = schema | {"components": self.document["components"]}
                self.validators[key] = jsonschema.Draft202012Validator(whole)
            error = next(self.validators[key].iter_errors(answer.get_json()), None)
            return None if error is None else error.message[:200]
        return None

    # --- chance -----------------------------------------------------------------------------------------------

    def _name(self) -> str:
        pick = self.chance.random()
        if pick < 0.45:
            return self.chance.choice([*self.known, *self.pictures, "page.css", "words.es.json", new_id()])
        if pick < 0.7:
            return self.chance.choice(STRANGE)
        return "".join(self.chance.choices(string.printable, k=self.chance.randint(1, 40)))

    def _query(self, operation: dict[str, Any]) -> dict[str, str]:
        names = [each["name"] for each in operation["parameters"] if each["in"] == "query"] + ["x", "limit"]
        return {self.chance.choice(names): str(self._value(None)) for _ in range(self.chance.choice([0, 0, 1, 2]))}

    def _headers(self, person: Person) -> dict[str, str]:
        found = {TOKEN: person.token} if person.token and self.chance.random() < 0.95 else {}
        if self.chance.random() < 0.1:
            name = self.chance.choice(["Accept-Language", "Range", "If-None-Match", "Origin", "Host", "Authorization",
                                       "Cookie", "Accept", "If-Modified-Since", "X-Forwarded-For"])  # fmt: skip
            found[name] = self.chance.choice(["", "*", "bytes=0-", "bytes=9-1", "bytes=a", "en;q=9", "Bearer x", "\xff",
                                              "ensueno=x", "http://localhost", '"', "es-419,*;q=0.1"])  # fmt: skip
        return found

    def _body(self, operation: dict[str, Any]) -> dict[str, Any]:
        """None, json near the schema, a form near it, or bytes."""
        body = operation.get("requestBody")
        pick = self.chance.random()
        if body is None:
            return {} if pick < 0.8 else {"data": self.chance.randbytes(30)}
        if pick < 0.1:
            kind = self.chance.choice(["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
            return {"data": self.chance.randbytes(self.chance.randint(0, 200)), "content_type": kind}
        name = body["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        fields = self._fields(self.document["components"]["schemas"][name])
        if "multipart/form-data" in body["content"] and pick < 0.3:
            fields = {key: str(value) for key, value in fields.items()}
            if self.chance.random() < 0.5:
                fields["image"] = (self._file(), "x.png")
            return {"data": fields, "content_type": "multipart/form-data"}
        text = json.dumps(fields)
        if pick > 0.93:
            cut = self.chance.randrange(len(text))
            text = text[:cut] + self.chance.choice(STRANGE) + text[cut + 1 :]
        return {"data": text.encode("utf-8", "surrogatepass"), "content_type": "application/json"}

    def _file(self) -> Any:
        import io

        data = bytearray(png(16, 16))
        for _ in range(self.chance.choice([0, 1, 5])):
            data[self.chance.randrange(len(data))] = self.chance.randrange(256)
        return io.BytesIO(bytes(data[: self.chance.choice([len(data), len(data), 20, 0])]))

    def _fields(self, schema: dict[str, Any]) -> dict[str, Any]:
        known = schema.get("properties", {})
        required = [name for name in schema.get("required", []) if self.chance.random() < 0.9]
        names = required + self.chance.sample(sorted(known), k=min(len(known), self.chance.choice([0, 0, 1, 2, 4])))
        if self.chance.random() < 0.1:
            names.append(self.chance.choice(TEMPTING))
        return {name: self._value(known.get(name)) for name in names}

    def _value(self, schema: dict[str, Any] | None) -> Any:
        """Mostly what fits, else anything."""
        if schema and self.chance.random() < 0.6:
            if "enum" in schema:
                return self.chance.choice(schema["enum"])
            kind = schema.get("type") or self.chance.choice(schema.get("anyOf", [{}])).get("type")
            low, high = schema.get("minimum", 0), schema.get("maximum", 9)
            fitting: dict[str | None, Any] = {
                "string": self.chance.choice(["a red apple", *self.pictures, "en", "128x128"]),
                "integer": self.chance.choice([low, high, self.chance.randint(int(low), int(high))]),
                "number": self.chance.choice([low, high, 0.5]), "boolean": True, "null": None,
            }  # fmt: skip
            return fitting.get(kind, "a")
        return self.chance.choice(
            [*STRANGE, None, True, -1, 0, 10**30, 0.1, -1e300, [], {}, [[]], {"a": {}}, "a", self.chance.random()]
        )

    def _tidy(self) -> None:
        """Room in the queue, everybody in."""
        while self.at.box.journal.claim(self.at.box.engine.session):
            pass
        self.at.box.engine.wake()
        db = self.at.box.journal.database.connection
        for job, _ in db.execute("SELECT id, state FROM jobs WHERE state = 'queued'"):
            self.at.box.journal.cancel(job)
        for index, role in enumerate((Role.OWNER, Role.GUEST)):
            if self.people[index].id not in {key.id for key in self.at.access.people()}:
                self.people[index] = self.at.person(role)
        for key in self.at.access.people():
            if key.id not in {person.id for person in self.people}:
                self.at.access.revoke(key.id)


def main(arguments: list[str]) -> int:
    """The long run; prints its figures as json, and what was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=10_000, help="of each route group")
    parser.add_argument("--seed", type=int, default=20261128)
    parser.add_argument("--group", action="append", help="only these")
    options = parser.parse_args(arguments)
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder), options.seed)
        begun = time.monotonic()
        for name in options.group or sorted(fuzzer.operations):
            fuzzer.group(name, options.cases)
            print(f"{name}: {time.monotonic() - begun:.0f} s, {len(fuzzer.tally.wrong)} wrong", file=sys.stderr)
    tally = fuzzer.tally
    answers = {str(status): count for status, count in sorted(tally.answers.items())}
    told = {"seed": options.seed, "cases": dict(tally.cases), "answers": answers, "wrong": len(tally.wrong)}
    print(json.dumps(told | {"seconds": round(time.monotonic() - begun)}))
    print(*tally.wrong[:20], sep="\n", file=sys.stderr)
    return int(bool(tally.wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
