"""The heart, the bin and what is said of a blurred picture, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.web.browser import DESK, PHONE, Visit
from tests.web.test_page import visiting


@pytest.fixture
def visitor(browser: Browser, tmp_path: Path) -> Iterator[Visit]:
    yield from visiting(browser, tmp_path)


def test_a_heart_keeps_a_picture_and_the_bin_asks_before_it_deletes(visitor: Visit) -> None:
    page = visitor.page
    visitor.painter.rest()  # else it may be quicker than the hand
    visitor.drawn(2)
    visitor.come()
    page.locator("#tiles button").first.click()
    heart, bin_ = page.locator("#viewer .heart"), page.locator("#viewer .bin")
    with page.expect_response("**/favourite"):  # the heart fills before the box has heard
        heart.click()
    expect(heart).to_have_attribute("aria-pressed", "true")
    newest, oldest = visitor.box.journal.gallery.images()
    assert newest.favourite
    assert not Axe().run(page).response["violations"]
    bin_.click()
    expect(bin_).to_have_text("Delete for good?")
    assert len(visitor.box.journal.gallery.images()) == 2
    bin_.click()
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("#tiles li")).to_have_count(1)
    assert [image.id for image in visitor.box.journal.gallery.images()] == [oldest.id]


def test_a_picture_deleted_on_the_stage_leaves_it(visitor: Visit) -> None:
    page = visitor.page
    visitor.come()
    visitor.dream("a red apple")
    visitor.state("finished")
    page.locator(".dream .bin").click()
    page.locator(".dream .bin").click()
    expect(page.locator(".dream")).to_have_count(0)
    expect(page.locator("#empty")).to_be_visible()
    assert visitor.box.journal.gallery.images() == []


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"viewport": PHONE}, "This picture was blurred by the picture check."),
        ({"viewport": DESK, "locale": "es-ES"}, "El control de imágenes ha desenfocado esta imagen."),
    ],
)
def test_a_blurred_picture_is_said_to_be_on_the_stage_and_when_it_is_opened(
    browser: Browser, tmp_path: Path, context: dict[str, Any], said: str
) -> None:
    for visitor in visiting(browser, tmp_path, **context):
        page = visitor.page
        visitor.come()
        visitor.dream("a red apple")
        visitor.state("finished")
        expect(page.locator(".dream:first-child .status")).to_have_text("")
        visitor.box.engine.blurs = True
        visitor.dream("a green apple")
        expect(page.locator(".dream:first-child .status")).to_have_text(said)
        page.locator(".dream:first-child .picture").click()
        expect(page.locator("#viewer-facts")).to_contain_text(said)
        assert not Axe().run(page).response["violations"]
