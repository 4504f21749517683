"""Starting from a picture, in a real browser: choosing, painting, dreaming on."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect

from appliance.web import Limits
from tests.web.box import Painter, make_box, png, starting_manifest
from tests.web.browser import DESK, PHONE, Visit, comers, visit
from tests.web.test_openai import served
from tests.web.test_page import no_barrier

PHOTO: FilePayload = {"name": "photo.png", "mimeType": "image/png", "buffer": png(300, 200, 3)}


@pytest.fixture
def at(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """A visitor at a box that can start from pictures: `at(viewport=DESK)`."""
    yield from comers(partial(visiting, browser, tmp_path))


def visiting(browser: Browser, folder: Path, steps: int = 20, **context: Any) -> Iterator[Visit]:
    box = make_box(folder, Limits(heartbeat=0.5), bundle=starting_manifest(steps))
    painter = Painter(box.engine)
    with served(box) as url, painter.at_work(), visit(browser, box, url, painter, **context) as found:
        found.come()
        yield found


def choose(page: Page, file: FilePayload = PHOTO) -> None:
    page.set_input_files("#pick-file", file)
    expect(page.locator("#start")).to_be_visible()


def paint(page: Page) -> None:
    """A stroke from the left edge to the middle, half way down."""
    page.get_by_role("button", name="Paint what changes").click()
    box = page.locator("#start-strokes").bounding_box()
    assert box is not None
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 2, height)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, height, steps=5)
    page.mouse.up()


def kept(visitor: Visit, name: str) -> Image.Image:
    """The newest job's picture or mask as the box keeps it."""
    sent = getattr(visitor.requests()[-1], name)
    return Image.open(io.BytesIO(visitor.box.journal.input(sent.sha256)))


def test_a_model_of_one_step_takes_as_many_as_the_photo_needs(at: Callable[..., Visit]) -> None:
    visitor = at(steps=1, viewport=DESK)
    choose(visitor.page)
    visitor.dream("under snow")
    visitor.state("finished")
    request = visitor.requests()[-1]
    assert (request.strength, request.steps, request.steps_taken) == (0.6, 2, 1)


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_a_photo_is_cut_to_the_nearest_shape_and_dreamed_on(at: Callable[..., Visit], viewport: Any) -> None:
    visitor = at(viewport=viewport)
    page = visitor.page
    choose(page)
    expect(page.locator("#say")).to_have_text("The picture is there: say what it should become.")
    expect(page.locator("#strength-out")).to_have_text("60 %")
    page.fill("#strength", "0.4")
    visitor.dream("under snow")
    visitor.state("finished")
    request = visitor.requests()[-1]
    assert (request.width, request.height, request.strength, request.mask) == (192, 128, 0.4, None)
    sent = kept(visitor, "image")
    assert sent.size == (192, 128)
    photo = Image.open(io.BytesIO(PHOTO["buffer"])).resize((192, 128))
    for at_ in ((20, 10), (150, 120), (96, 64)):
        assert max(abs(a - b) for a, b in zip(sent.getpixel(at_), photo.getpixel(at_), strict=True)) < 12  # type: ignore[arg-type]
    page.locator(".picture").click()
    expect(page.locator("#viewer-facts")).to_contain_text("from a picture, 40 % anew")


def test_strokes_say_what_changes(at: Callable[..., Visit]) -> None:
    visitor = at()
    page = visitor.page
    choose(page)
    paint(page)
    expect(page.locator("#strength-out")).to_have_text("100 %")
    visitor.dream("a house")
    visitor.state("finished")
    mask = kept(visitor, "mask")
    assert (mask.size, mask.mode) == ((192, 128), "L")
    assert [mask.getpixel(at_) for at_ in ((40, 64), (150, 64), (40, 10), (40, 120))] == [255, 0, 0, 0]
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("button", name="Clear")).to_be_hidden()
    expect(page.locator("#strength-out")).to_have_text("60 %")
    visitor.dream("another house")
    expect(page.locator("#tiles li")).to_have_count(2)
    assert visitor.requests()[-1].mask is None


def test_a_finger_paints_and_does_not_scroll(at: Callable[..., Visit]) -> None:
    page = at(has_touch=True).page
    choose(page)
    action = "getComputedStyle(document.getElementById('start-strokes')).touchAction"
    assert page.evaluate(action) == "auto"
    page.get_by_role("button", name="Paint what changes").tap()
    assert page.evaluate(action) == "none"
    box = page.locator("#start-strokes").bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + 40, box["y"] + 40)
    expect(page.get_by_role("button", name="Clear")).to_be_visible()


def test_a_drawn_picture_is_started_from_again_and_let_go(at: Callable[..., Visit]) -> None:
    visitor = at()
    page = visitor.page
    visitor.dream("a red apple")
    visitor.state("finished")
    page.locator(".picture").click()
    page.locator("#viewer").get_by_role("button", name="Start from it").click()
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("#start")).to_be_visible()
    visitor.dream("a green apple")
    expect(page.locator("#tiles li")).to_have_count(2)
    assert [request.image is not None for request in visitor.requests()] == [False, True]
    page.get_by_role("button", name="Without the picture").click()
    expect(page.locator("#start")).to_be_hidden()
    visitor.dream("a blue apple")
    expect(page.locator("#tiles li")).to_have_count(3)
    assert visitor.requests()[-1].image is None


def test_again_begins_from_the_same_picture_and_says_when_it_is_gone(at: Callable[..., Visit]) -> None:
    visitor = at()
    page = visitor.page
    choose(page)
    visitor.dream("a house")
    visitor.state("finished")
    page.locator(".dream").get_by_role("button", name="Again").click()
    expect(page.locator("#tiles li")).to_have_count(2)
    first, second = visitor.requests()
    assert (first.image, first.strength) == (second.image, second.strength)
    page.reload()
    page.wait_for_selector("#tiles button")
    page.locator("#tiles button").first.click()
    page.locator("#viewer").get_by_role("button", name="Again").click()
    expect(page.get_by_role("alert")).to_have_text("The picture it began from is not kept: choose it again.")
    expect(page.locator("#prompt")).to_have_value("a house")
    assert len(visitor.requests()) == 2


def test_a_reload_follows_a_job_that_began_from_a_picture(at: Callable[..., Visit]) -> None:
    visitor = at()
    page = visitor.page
    visitor.painter.hold(at=2)
    choose(page)
    visitor.dream("a house")
    expect(page.locator(".forming")).to_be_visible()
    page.reload()
    expect(page.locator(".forming")).to_be_visible()
    visitor.painter.go()
    visitor.state("finished")
    assert len(visitor.requests()) == 1


def test_what_is_no_picture_is_said(at: Callable[..., Visit]) -> None:
    page = at().page
    page.set_input_files("#pick-file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.get_by_role("alert")).to_contain_text("cannot read this file")
    expect(page.locator("#start")).to_be_hidden()


def test_a_box_that_cannot_shows_nothing_of_it(at: Callable[..., Visit]) -> None:
    visitor = at()
    page = visitor.page
    page.route("**/v1/offer", lambda route: route.fulfill(json=route.fetch().json() | {"pictures": False}))
    visitor.come()
    visitor.dream("a red apple")
    visitor.state("finished")
    expect(page.locator("#pick")).to_be_hidden()
    expect(page.get_by_role("button", name="Start from it")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_no_barrier_and_nothing_too_wide(at: Callable[..., Visit], scheme: str, width: int) -> None:
    page = at(color_scheme=scheme, viewport={"width": width, "height": 800}, locale="es-ES").page
    choose(page)
    page.get_by_role("button", name="Pintar lo que cambia").click()
    no_barrier(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for element in page.locator("#start button:visible, #pick").all():
        box = element.bounding_box()
        assert box is not None
        assert box["height"] >= 43.5
