"""The page in a real browser, as a visitor meets it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect

from appliance.web import Limits
from tests.web.box import Painter, make_box
from tests.web.browser import DESK, PHONE, Visit, comers, held, visit
from tests.web.test_openai import served

Come = Callable[..., AbstractContextManager[Visit]]
expect.set_options(timeout=30_000)


@pytest.fixture
def visitor(browser: Browser, tmp_path: Path) -> Iterator[Visit]:
    """A phone in English at a box whose engine is awake and quick."""
    yield from visiting(browser, tmp_path)


@pytest.fixture
def at(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """The same with another browser: `at(viewport=DESK, locale="es-ES")`."""
    yield from comers(partial(visiting, browser, tmp_path))


def visiting(browser: Browser, folder: Path, queue_limit: int = 100, **context: Any) -> Iterator[Visit]:
    box = make_box(folder, Limits(heartbeat=0.5), queue_limit)
    painter = Painter(box.engine)
    with served(box) as url, painter.at_work(), visit(browser, box, url, painter, **context) as found:
        yield found


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_a_sentence_becomes_a_picture(at: Callable[..., Visit], viewport: ViewportSize) -> None:
    visitor = at(viewport=viewport)
    page = visitor.page
    visitor.come()
    expect(page.locator("#empty")).to_be_visible()
    visitor.painter.hold(at=2)
    visitor.dream("two people on the mountain")
    expect(page.locator(".forming")).to_be_visible()
    assert page.locator(".forming").get_attribute("src", timeout=1000).startswith("blob:")  # type: ignore[union-attr]
    expect(page.locator(".status")).to_contain_text("Step 2 of 4")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.5")
    visitor.painter.go()
    visitor.state("finished")
    final = page.locator(".final")
    expect(final).to_have_js_property("naturalWidth", 128)
    assert final.bounding_box()["width"] > 300  # type: ignore[index]
    expect(page.locator(".forming")).to_have_count(0)
    expect(page.locator(".dream .prompt")).to_have_text("two people on the mountain")
    assert Axe().run(page).response["violations"] == []

    page.get_by_role("button", name="I like it", exact=True).click()
    expect(page.locator("[data-thumb=up]")).to_have_attribute("aria-pressed", "true")
    (image,) = visitor.box.journal.gallery.images()
    assert page.get_by_role("link", name="Save").get_attribute("href") == f"{image.url}?download=1"

    page.get_by_role("button", name="Again").click()
    expect(page.locator("#tiles li")).to_have_count(2)
    visitor.state("finished")
    seeds = visitor.seeds()
    assert len(set(seeds)) == 2

    page.get_by_role("button", name="Same seed").click()
    expect(page.locator("#prompt")).to_be_focused()
    expect(page.locator("#pin")).to_contain_text(str(seeds[1]))
    visitor.dream("three people on the mountain")
    visitor.state("finished")
    expect(page.locator(".dream .prompt")).to_have_text("three people on the mountain")
    assert visitor.seeds()[2] == seeds[1]
    assert visitor.box.journal.gallery.image(image.id).feedback == "up"


def test_a_reload_in_the_middle_loses_nothing(visitor: Visit) -> None:
    page = visitor.page
    visitor.come()
    visitor.painter.hold(at=2)
    visitor.dream("a red apple")
    expect(page.locator(".forming")).to_be_visible()
    page.reload()
    expect(page.locator(".forming")).to_be_visible()
    visitor.painter.go()
    visitor.state("finished")
    assert len(visitor.seeds()) == 1
    page.reload()
    expect(page.locator("#tiles li")).to_have_count(1)
    expect(page.locator(".dream")).to_have_count(0)


def test_what_ended_while_nobody_looked_is_shown_when_they_return(visitor: Visit) -> None:
    page = visitor.page
    visitor.come()
    visitor.painter.hold(at=1)
    visitor.dream("a red apple")
    visitor.state("running")
    page.goto("about:blank")
    visitor.painter.go()
    visitor.painter.drained()
    visitor.come()
    visitor.state("finished")
    expect(page.locator(".final")).to_be_visible()


def test_a_browser_that_keeps_nothing_is_fine(visitor: Visit) -> None:
    visitor.page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError') }})"
    )
    visitor.come()
    visitor.dream("a red apple")
    visitor.state("finished")


@pytest.mark.parametrize("how", ["cut", "refused"])
def test_without_a_stream_the_page_asks(visitor: Visit, how: str) -> None:
    def no_stream(route: Route) -> None:
        if how == "cut":
            route.abort()
        else:
            route.fulfill(status=503, content_type="application/problem+json", body="{}")

    page = visitor.page
    page.route("**/events", no_stream)
    visitor.come()
    visitor.painter.hold(at=2)
    visitor.dream("a red apple")
    expect(page.locator(".forming")).to_be_visible()
    expect(page.locator(".status")).to_contain_text("Step 2")
    visitor.painter.go()
    visitor.state("finished")


def test_when_the_box_cannot_be_reached_nothing_is_lost_and_nothing_is_asked_twice(visitor: Visit) -> None:
    page = visitor.page
    visitor.come()
    answered: list[int] = []

    def lost_answer(route: Route) -> None:
        if not answered:
            answered.append(route.fetch().status)  # the box took it, its answer never came
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/jobs", lost_answer)
    visitor.painter.rest()
    visitor.dream("a red apple")
    expect(page.locator(".status")).to_contain_text("cannot be reached")
    visitor.state("queued")
    visitor.painter.go()
    visitor.state("finished")
    assert len(visitor.seeds()) == 1


def test_several_at_once_each_with_its_place_and_its_way_out(visitor: Visit) -> None:
    page = visitor.page
    visitor.come()
    visitor.painter.rest()
    for prompt in ("one", "two", "three"):
        visitor.dream(prompt)
        expect(page.locator(".dream")).to_have_count(["one", "two", "three"].index(prompt) + 1)
        visitor.state("queued")
    expect(page.locator(".dream").first.locator(".status")).to_contain_text("Number 3 in line")
    page.locator(".dream").last.get_by_role("button", name="Cancel").click()
    expect(page.locator(".dream")).to_have_count(2)
    expect(page.locator(".dream").last.locator(".status")).to_contain_text("Next in line")
    visitor.painter.go()
    expect(page.locator(".dream[data-state=finished]")).to_have_count(2)


def test_a_running_picture_can_be_cancelled(visitor: Visit) -> None:
    page = visitor.page
    visitor.come()
    visitor.painter.hold(at=2)
    visitor.dream("a red apple")
    expect(page.locator(".forming")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".dream")).to_have_count(0)
    expect(page.locator("#say")).to_have_text("Let go.")
    assert visitor.box.journal.gallery.images() == []
    page.reload()
    page.wait_for_selector("#examples .chip")
    expect(page.locator(".dream")).to_have_count(0)


@pytest.mark.parametrize("how", ["cut", "refused"])
def test_a_cancel_that_fails_leaves_the_picture_as_it_was(visitor: Visit, how: str) -> None:
    def no_cancel(route: Route) -> None:
        if route.request.method != "DELETE":
            route.continue_()
        elif how == "cut":
            route.abort()
        else:
            route.fulfill(status=500, content_type="application/problem+json", body="{}")

    page = visitor.page
    visitor.come()
    page.route("**/v1/jobs/*", no_cancel)
    visitor.painter.hold(at=2)
    visitor.dream("a red apple")
    expect(page.locator(".forming")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    sentence = "cannot be reached" if how == "cut" else "made a mistake"
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    visitor.state("running")
    expect(page.locator(".status")).to_contain_text("Step 2 of 4")
    visitor.painter.go()
    visitor.state("finished")


def test_what_the_box_says_in_english_is_led_in_in_spanish(at: Callable[..., Visit]) -> None:
    visitor = at(locale="es-MX")
    page = visitor.page
    visitor.come()
    visitor.dream("please fail")
    visitor.state("failed")
    expect(page.locator(".dream .status")).to_have_text(re.compile("^La caja dice: .*told to fail"))
    visitor.dream("half \x07 bell")
    expect(page.get_by_role("alert")).to_have_text(re.compile("^La caja dice: .*control characters"))


def test_spanish(at: Callable[..., Visit]) -> None:
    visitor = at(locale="es-MX")
    page = visitor.page
    visitor.come()
    expect(page.locator("html")).to_have_attribute("lang", "es")
    expect(page.get_by_label("¿Qué soñamos?")).to_be_visible()
    page.get_by_role("button", name="dos personas en la montaña").click()
    visitor.state("finished")
    (image,) = visitor.box.journal.gallery.images()
    request = visitor.box.journal.job(image.job).request
    assert (request.prompt, request.locale) == ("dos personas en la montaña", "es-MX")
    expect(page.get_by_role("button", name="Misma semilla")).to_be_visible()


def test_the_examples_are_those_of_the_visitors_place(at: Callable[..., Visit]) -> None:
    for locale, words in {"es-MX": "un carro rojo", "es-ES": "un coche rojo", "en-AU": "a red apple"}.items():
        visitor = at(locale=locale)
        visitor.come()
        expect(visitor.page.locator("#examples .chip").nth(1)).to_contain_text(words)


def test_the_place_of_the_words_can_be_chosen(visitor: Visit) -> None:
    page = visitor.page
    visitor.come()
    page.get_by_text("Settings").click()
    place = page.get_by_label("Language of the words")
    assert place.locator("option").all_inner_texts() == [
        "this device’s", "English", "English (UK)", "Spanish", "Spanish (Latin America)",
    ]  # fmt: skip
    expect(place).to_have_value("")
    place.select_option(label="Spanish (Latin America)")
    expect(page.locator("#examples")).to_have_attribute("lang", "es-419")
    page.get_by_role("button", name="un carro rojo").click()
    visitor.state("finished")
    assert asked_in(visitor) == ["es-419"]

    page.get_by_role("button", name="Back to the defaults").click()
    expect(place).to_have_value("")
    expect(page.locator("#examples")).to_have_attribute("lang", "en-GB")
    visitor.dream("a red apple")
    visitor.state("finished")
    assert asked_in(visitor) == ["es-419", "en-GB"]


def test_the_same_seed_keeps_the_place_of_the_words(visitor: Visit) -> None:
    page = visitor.page
    visitor.painter.rest()
    visitor.drawn(1, locale="es-MX")
    visitor.painter.go()
    visitor.come()
    page.locator("#tiles button").first.click()
    page.get_by_role("button", name="Same seed").click()
    expect(page.locator("#locale option:checked")).to_have_text("Spanish (Mexico)")
    visitor.dream("una manzana roja")
    visitor.state("finished")
    assert asked_in(visitor) == ["es-MX", "es-MX"]


def test_an_example_in_another_language_than_the_devices_is_asked_in_its_own(at: Callable[..., Visit]) -> None:
    visitor = at(locale="de-DE")
    visitor.come()
    visitor.dream("ein roter Apfel")
    visitor.state("finished")
    visitor.page.get_by_role("button", name="a cat in the rain").click()
    expect(visitor.page.locator("#tiles li")).to_have_count(2)
    assert asked_in(visitor) == ["de-DE", "en"]


def test_a_bundle_of_one_locale_leaves_nothing_to_choose(visitor: Visit) -> None:
    def one_locale(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"locales": ["en"], "locale": "en"})

    visitor.page.route("**/v1/offer", one_locale)
    visitor.come()
    visitor.page.get_by_text("Settings").click()
    expect(visitor.page.locator("#seed")).to_be_visible()
    expect(visitor.page.get_by_label("Language of the words")).to_be_hidden()


def asked_in(visitor: Visit) -> list[str]:
    """Locales of all jobs, the oldest first."""
    return [request.locale for request in visitor.requests()]


def test_the_keyboard_is_enough(at: Callable[..., Visit]) -> None:
    visitor = at(viewport=DESK)
    page = visitor.page
    visitor.come()
    until(page, "prompt")
    page.keyboard.type("a red apple")
    page.keyboard.press("Enter")
    visitor.state("finished")
    until(page, "picture")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(".picture")).to_be_focused()
    until(page, "shut")
    page.keyboard.press("Enter")
    expect(page.locator(".dream")).to_have_count(0)
    expect(page.locator("#prompt")).to_be_focused()


def until(page: Page, name: str) -> None:
    """Press Tab until the element with that id or class has the focus."""
    for _ in range(40):
        here = page.evaluate("[document.activeElement.id, ...document.activeElement.classList]")
        if name in here:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} cannot be reached")


def test_a_sentence_sent_before_the_page_is_ready_stays_in_its_field(visitor: Visit) -> None:
    page = visitor.page
    with held(page, "**/form.js*"):
        page.goto(visitor.url, wait_until="commit")
        page.fill("#prompt", "a red apple")
        page.click("#go", force=True)
    page.click("#go")  # when it can be
    visitor.state("finished")


def test_settings_are_sent(visitor: Visit) -> None:
    page = visitor.page
    visitor.come()
    page.get_by_text("Settings").click()
    page.get_by_label("Tall").check()
    page.get_by_label("2", exact=True).check()
    page.fill("#negative", "worms")
    page.fill("#steps", "7")
    page.fill("#guidance", "2.5")
    page.fill("#seed", "42")
    page.select_option("#scheduler", "dpm++")
    visitor.dream("a red apple")
    expect(page.locator(".final")).to_have_count(2)
    first, second = visitor.box.journal.gallery.images()[::-1]
    request = visitor.box.journal.job(first.job).request
    assert (request.width, request.height, request.count, request.negative_prompt) == (128, 192, 2, "worms")
    assert (request.steps, request.guidance, request.seed, request.scheduler) == (7, 2.5, 42, "dpm++")
    assert (first.seed, second.seed) == (42, 43)
    page.get_by_role("button", name="Back to the defaults").click()
    expect(page.locator("#seed")).to_have_value("")


def test_the_gallery_goes_on(visitor: Visit) -> None:
    page = visitor.page
    visitor.painter.rest()
    visitor.drawn(30)
    visitor.come()
    expect(page.locator("#tiles li")).to_have_count(24)
    page.get_by_role("button", name="More").click()
    expect(page.locator("#tiles li")).to_have_count(30)
    expect(page.locator("#more")).to_be_hidden()
    newest = visitor.box.journal.gallery.images(1)[0]
    page.locator("#tiles button").first.click()
    expect(page.locator("#viewer-prompt")).to_have_text("picture 29")
    expect(page.locator("#viewer-facts")).to_contain_text(f"seed {newest.seed}")
    assert page.url.endswith(f"#{newest.id}")
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    page.goto(f"{visitor.url}/#{newest.id}")
    page.reload()
    expect(page.locator("#viewer-prompt")).to_have_text("picture 29")


def test_a_prompt_is_text_and_never_more(visitor: Visit) -> None:
    prompt = '<img src=x onerror="document.title=1"> & <b>شجرة</b>'
    page = visitor.page
    visitor.come()
    visitor.dream(prompt)
    visitor.state("finished")
    expect(page.locator(".dream .prompt")).to_have_text(prompt)
    assert page.locator(".dream .prompt").get_attribute("dir") == "auto"
    assert page.locator("img[src=x]").count() == 0
    page.locator(".picture").click()
    expect(page.locator("#viewer-prompt")).to_have_text(prompt)


def test_what_goes_wrong_is_one_sentence(visitor: Visit) -> None:
    page = visitor.page
    visitor.come()
    page.get_by_text("Settings").click()
    page.fill("#seed", "5000000000")
    visitor.dream("a red apple")
    expect(page.get_by_role("alert")).to_contain_text("0 to 4294967295")
    page.fill("#seed", "")
    page.fill("#prompt", "   ")
    page.click("#go")
    expect(page.get_by_role("alert")).to_contain_text("few words")
    visitor.dream("please fail")
    visitor.state("failed")
    expect(page.locator(".dream .status")).to_contain_text("told to fail")
    expect(page.get_by_role("alert")).to_have_text("")
    page.get_by_role("button", name="Put away").click()
    expect(page.locator("#empty")).to_be_visible()


def test_a_full_queue_is_said_plainly(at: Callable[..., Visit]) -> None:
    visitor = at(queue_limit=1)
    visitor.painter.rest()
    visitor.box.client.post("/v1/jobs", json={"prompt": "somebody else's"})
    visitor.come()
    visitor.dream("a red apple")
    expect(visitor.page.get_by_role("alert")).to_contain_text("waiting already")
    expect(visitor.page.locator(".dream")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barrier_that_a_checker_can_see(at: Callable[..., Visit], scheme: str) -> None:
    visitor = at(color_scheme=scheme)
    page = visitor.page
    visitor.come()
    page.get_by_text("Settings").click()
    no_barrier(page)
    page.get_by_text("Settings").click()
    visitor.painter.hold(at=2)
    visitor.dream("a red apple")
    expect(page.locator(".forming")).to_be_visible()
    no_barrier(page)
    visitor.painter.go()
    visitor.state("finished")
    visitor.dream("please fail")
    visitor.state("failed")
    no_barrier(page)
    page.locator("#tiles button").first.click()
    expect(page.locator("#viewer-facts")).to_contain_text("steps")
    no_barrier(page)


def no_barrier(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    told = [f"{item['id']}: {[node['html'][:120] for node in item['nodes']]}" for item in found]
    assert [line for item, line in zip(found, told, strict=True) if item["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(at: Callable[..., Visit], width: int) -> None:
    visitor = at(viewport={"width": width, "height": 800})
    visitor.painter.rest()
    visitor.drawn(3)
    visitor.come()
    visitor.page.get_by_text("Settings").click()
    visitor.dream("a " + "very" * 60 + " long word")
    visitor.state("queued")
    wide = visitor.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    for element in visitor.page.locator("button:visible, summary:visible, select:visible").all():
        box = element.bounding_box()
        assert box is not None
        if width < 700:
            assert box["height"] >= 43.5, element.inner_text()


def test_every_preview_is_let_go(visitor: Visit) -> None:
    visitor.page.add_init_script(
        "window.held = new Set();"
        "const make = URL.createObjectURL, free = URL.revokeObjectURL;"
        "URL.createObjectURL = (blob) => { const url = make(blob); held.add(url); return url; };"
        "URL.revokeObjectURL = (url) => { held.delete(url); free(url); };"
    )
    visitor.come()
    visitor.dream("a red apple")
    visitor.page.wait_for_selector(".dream.clear")
    assert visitor.page.evaluate("held.size") == 0


def test_the_tab_tells_how_far_it_is(visitor: Visit) -> None:
    visitor.come()
    visitor.painter.hold(at=2)
    visitor.dream("a red apple")
    expect(visitor.page).to_have_title(re.compile("^50 %"))
    visitor.painter.go()
    visitor.state("finished")
    expect(visitor.page).to_have_title("Ensueño")
