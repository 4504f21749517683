"""Pairing as people meet it: a phone that the box does not know, an owner's panel, and a guest's code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ViewportSize, expect

from appliance.people.access import Role
from tests.web.box import Painter
from tests.web.browser import DESK, PHONE, Visit, held, visit
from tests.web.paired import Paired, make_paired
from tests.web.test_openai import served

expect.set_options(timeout=30_000)


@pytest.fixture
def paired(tmp_path: Path) -> Paired:
    return make_paired(tmp_path)


@pytest.fixture
def at(browser: Browser, paired: Paired) -> Iterator[Callable[..., Visit]]:
    """Visitors of one box, each with a browser of his own."""
    painter = Painter(paired.box.engine)
    open_visits: list[Any] = []
    with served(paired.box) as url, painter.at_work():

        def come(**context: Any) -> Visit:
            coming = visit(browser, paired.box, url, painter, **context)
            open_visits.append(coming)
            return coming.__enter__()

        yield come
        for coming in reversed(open_visits):
            coming.__exit__(None, None, None)


def accessible(visitor: Visit) -> None:
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert Axe().run(visitor.page).response["violations"] == []


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_stranger_sees_one_thing_and_comes_in_with_the_pin(
    at: Callable[..., Visit], paired: Paired, viewport: ViewportSize, scheme: str
) -> None:
    paired.person(Role.OWNER).dreams("a secret dream")
    visitor = at(viewport=viewport, color_scheme=scheme)
    page = visitor.page
    page.goto(visitor.url)
    expect(page.get_by_role("heading", name="Who is there?")).to_be_visible()
    expect(page.locator("#form")).not_to_be_visible()
    expect(page.locator("#gallery")).not_to_be_visible()
    accessible(visitor)

    pin = paired.access.invite(Role.GUEST)
    page.fill("#pair-pin", f"{int(pin[:4]) ^ 1:04d} {pin[4:]}")
    page.click("#pair-go")
    expect(page.locator("#pair-trouble")).to_contain_text("This PIN is not good")
    page.fill("#pair-pin", f"{pin[:4]} {pin[4:]}")
    page.fill("#pair-name", "Niña")
    page.click("#pair-go")
    expect(page.locator("#prompt")).to_be_visible()
    page.wait_for_selector("#examples .chip")
    assert paired.access.people()[-1].name == "Niña"

    visitor.dream("two people on the mountain")
    visitor.state("finished")
    page.reload()
    expect(page.locator("#tiles li")).to_have_count(1)  # his own, and not the owner's
    expect(page.locator("#pulse")).to_be_disabled()


def test_a_pin_entered_before_the_page_is_ready_stays_in_its_field(at: Callable[..., Visit], paired: Paired) -> None:
    visitor = at()
    page = visitor.page
    with held(page, "**/v1/pair"):
        page.goto(visitor.url)
        page.fill("#pair-pin", paired.access.invite(Role.GUEST))
        page.press("#pair-pin", "Enter")
        expect(page.locator("#pair-go")).to_be_disabled()
    expect(page.locator("#pair-go")).to_be_enabled()
    page.press("#pair-pin", "Enter")
    expect(page.locator("#prompt")).to_be_visible()


def test_an_owner_lets_a_guest_in_by_a_code_and_lets_him_go(at: Callable[..., Visit], paired: Paired) -> None:
    owner = at()
    owner.page.goto(f"{owner.url}/#pin={paired.access.invite(Role.OWNER)}")
    expect(owner.page.locator("#pair-pin")).not_to_have_value("")
    assert "pin" not in owner.page.url
    owner.page.click("#pair-go")
    owner.page.wait_for_selector("#examples .chip")
    owner.page.click("#pulse")
    expect(owner.page.locator("#people-list li")).to_have_count(1)
    owner.page.click("#invite-guest")
    expect(owner.page.locator("#invitation")).to_be_visible()
    expect(owner.page.locator("#invitation-code")).to_have_js_property("complete", True)
    assert owner.page.evaluate("document.getElementById('invitation-code').naturalWidth > 0")
    accessible(owner)
    pin = owner.page.locator("#invitation-pin").text_content()

    guest = at(locale="es-ES")
    guest.page.goto(guest.url)
    expect(guest.page.get_by_role("heading", name="¿Quién es?")).to_be_visible()
    guest.page.fill("#pair-pin", pin or "")
    guest.page.fill("#pair-name", "Luis")
    expect(guest.page.locator("#pair-go")).to_be_enabled()
    guest.page.keyboard.press("Enter")
    guest.page.wait_for_selector("#examples .chip")

    owner.page.click("#box-close")
    expect(owner.page.locator("#invitation-pin")).to_be_empty()
    owner.page.click("#pulse")
    expect(owner.page.locator("#people-list")).to_contain_text("Luis")
    owner.page.on("dialog", lambda dialog: dialog.accept())
    owner.page.get_by_role("button", name="Let go: Luis").click()
    expect(owner.page.locator("#people-list li")).to_have_count(1)

    guest.page.fill("#prompt", "una manzana roja")
    guest.page.click("#go")
    expect(guest.page.get_by_role("heading", name="¿Quién es?")).to_be_visible()
