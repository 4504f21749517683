"""The rows of "must be impossible" (docs/security.md) that no other test holds: bugs that other picture servers had."""

from __future__ import annotations

import ast
from pathlib import Path
from urllib.parse import quote

import pytest

from appliance.people.access import Role
from tests.test_architecture import ROOT, imports
from tests.web.box import Box
from tests.web.fuzz import STRANGE
from tests.web.paired import make_paired

WEB = sorted((ROOT / "appliance" / "web").glob("*.py"))
CANARY = "a-canary-in-a-file"
WAYS = ["{}", "../{}", "..%2f{}", "%2e%2e/{}", "....//{}", "/{}", "..\\{}", "{}%00.png", "page.css/../../{}"]


@pytest.mark.parametrize("path", WEB, ids=lambda path: path.stem)
def test_nothing_the_web_does_installs_evaluates_or_imports_what_it_is_sent(path: Path) -> None:
    """CVE-2024-21574, -21576, -21577: what faces the network starts no program and makes no code."""
    for imported in imports(path):
        assert imported.split(".")[0] not in ("importlib", "subprocess", "pip", "runpy", "code", "multiprocessing")
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), called
            starts = called.startswith(("os.exec", "os.spawn", "os.posix_spawn"))
            assert not starts or path.stem == "__main__", called  # itself, before it listens


def test_no_route_takes_a_path(box: Box) -> None:
    """CVE-2024-1728, CVE-2023-51449, CVE-2024-47164, CVE-2026-49119, CVE-2026-28414."""
    for rule in box.app.url_map.iter_rules():
        assert "path:" not in rule.rule
        assert all(converter.part_isolating for converter in rule._converters.values())


def test_no_file_of_the_box_is_served_but_pictures_and_the_page(tmp_path: Path) -> None:
    """CVE-2026-123790, CVE-2024-21575, CVE-2026-56671, CVE-2025-67303: settings, keys and journal lie beside them."""
    paired = make_paired(tmp_path)
    owner = paired.person(Role.OWNER)
    names = ["ensueno.toml", "tls.pem", "access.json", "journal.db", "images/x.txt"]
    for name in names[:2] + names[4:]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(CANARY)
    kept = [CANARY, (tmp_path / "access.json").read_text()[:40]]
    routes = [rule.rule for rule in paired.box.app.url_map.iter_rules() if rule.arguments and "GET" in rule.methods]  # type: ignore[operator]
    for route in routes:
        before, _, after = route.partition("<")
        for name in [*names, *(str(tmp_path / name) for name in names)]:
            for way in WAYS:
                answer = owner.ask("GET", before + way.format(name) + after.partition(">")[2])
                assert not any(secret in answer.text for secret in kept)
                assert b"SQLite format" not in answer.data
                answer.close()


@pytest.mark.parametrize(
    "prompt", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", *STRANGE[13:17]]
)
def test_a_prompt_is_text_wherever_it_comes_out(box: Box, prompt: str) -> None:
    """CVE-2024-10099, CVE-2026-111984: what comes out is json or png and says so; the page makes text of it."""
    box.engine.wake()
    answer = box.client.post("/v1/jobs", json={"prompt": prompt})
    if answer.status_code == 400:
        return  # no prompt at all
    picture = box.engine.draw().images[0]
    for path, kind in ((f"/v1/images/{picture}.png", "image/png"), ("/v1/images", "application/json")):
        answer = box.client.get(path)
        assert answer.mimetype == kind
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        named = answer.headers.get("Content-Disposition", "")
        assert not set(named) & set("<>{}\r\n"), named
        answer.close()
    assert prompt not in box.client.get("/").text


def test_a_job_of_any_name_is_no_file(box: Box, tmp_path: Path) -> None:
    """What a client chooses, the job's id, names no file: pictures are named by ids the box makes."""
    box.engine.wake()
    for name in ("a..", "..a", "con", "a.png", "x" * 64):
        answer = box.client.post("/v1/jobs", json={"prompt": "a", "id": name})
        assert answer.status_code == (400 if name.startswith(".") else 202)
    for name in ("../x", "a/b", "/etc/x", "a\\b", "."):
        assert box.client.post("/v1/jobs", json={"prompt": "a", "id": name}).status_code == 400
        assert box.client.get(f"/v1/jobs/{quote(name, safe='')}").status_code == 404
    while box.engine.journal.counts()["queued"]:  # type: ignore[index]
        box.engine.draw()
    assert all(path.stem.isalnum() and len(path.stem) == 26 for path in (tmp_path / "images").rglob("*.png"))
