"""The page's files, without a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from appliance.web.page import LANGUAGES, STATIC, words
from tests.web.box import Box

TEMPLATE = (STATIC.parent / "templates" / "page.html").read_text("utf-8")
SCRIPTS = sorted(STATIC.glob("*.js"))


def test_every_language_says_the_same_things() -> None:
    for language in LANGUAGES:
        assert words(language).keys() == words("en").keys()
        for name, text in words("en").items():
            assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", words(language)[name])), name


def test_every_sentence_that_is_asked_for_exists_and_none_is_idle() -> None:
    scripts = "\n".join(path.read_text("utf-8") for path in SCRIPTS)
    asked = set(re.findall(r"{{ words\.(\w+)", TEMPLATE)) | set(re.findall(r'say\("(\w+)"', scripts))
    known = set(words("en"))
    assert asked <= known
    named = {name for name in known if re.search(rf'["`.]{name}\b', scripts)}
    families = ("error_", "trouble_", "box_", "role_", "invitation_")
    by_pattern = {name for name in known if name.startswith(families)} | {"square", "wide", "tall"}
    assert known - asked - named - by_pattern == set()


@pytest.mark.parametrize("path", [*SCRIPTS, STATIC / "page.css"], ids=lambda path: path.name)
def test_nothing_is_fetched_from_elsewhere_and_no_text_becomes_html(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert banned not in text


def test_the_template_has_nothing_inline() -> None:
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", TEMPLATE)
    assert not re.findall(r"https?://", TEMPLATE)


def test_all_that_the_page_names_is_there(box: Box) -> None:
    html = box.client.get("/").text
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', html):
        assert box.client.get(path).status_code == 200, path
    manifest = json.loads(box.client.get("/static/app.webmanifest").text)
    for icon in manifest["icons"]:
        answer = box.client.get(icon["src"])
        assert (answer.status_code, answer.mimetype) == (200, icon["type"])
    for script in SCRIPTS:
        for name in re.findall(r'from "\./([\w.]+)"', script.read_text("utf-8")):
            assert box.client.get(f"/static/{name}").mimetype == "text/javascript"


def test_files_are_asked_for_again_and_seldom_sent_twice(box: Box) -> None:
    first = box.client.get("/static/page.js")
    again = box.client.get("/static/page.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert first.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpage.py", "%2e%2e/page.py", "page.css%00"])
def test_only_the_pages_own_files_are_served(box: Box, name: str) -> None:
    assert box.client.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("asked", "given"), [("es-AR,es;q=0.9", "es"), ("de,es;q=0.5", "es"), ("fr", "en"), ("", "en"), ("en-GB", "en")]
)
def test_the_page_speaks_the_visitors_language(box: Box, asked: str, given: str) -> None:
    answer = box.client.get("/", headers={"Accept-Language": asked})
    assert f'<html lang="{given}">' in answer.text
    assert words(given)["ask"] in answer.text
    assert "Accept-Language" in answer.headers["Vary"]
