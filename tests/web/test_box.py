"""The box's own word: as json, as metrics and as the panel of the page, for boards that are not here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ViewportSize, expect
from prometheus_client.parser import text_string_to_metric_families

from appliance.device import sensors
from appliance.device.health import Disk, Health, examine
from appliance.device.measures import measures
from appliance.errors import Unavailable
from appliance.figures import Figures, Histogram
from appliance.request import GenerationRequest
from appliance.web import Limits
from appliance.web.page import words
from appliance.web.services import KEY
from tests import builder
from tests.device.boards import BOARDS, plant
from tests.web.box import Box, Painter, make_box
from tests.web.browser import DESK, PHONE, Visit, visit
from tests.web.test_openai import served

ADDRESSES = ["http://192.168.1.23:8080", "http://ensueno.local:8080"]


def board(name: str, folder: Path, disk: Disk | None = None) -> Health:
    return examine(sensors.read(plant(name, folder / name)), disk or Disk(232 << 30, 126 << 30), reserve=64 << 20)


@pytest.fixture
def orin(tmp_path: Path) -> Iterator[Box]:
    box = make_box(tmp_path, health_of_box=lambda: board("orin-nx", tmp_path), addresses=lambda: ADDRESSES)
    yield box
    box.app.extensions[KEY].switchboard.close()


def test_the_box_says_how_it_is(orin: Box) -> None:
    orin.engine.wake(seconds_per_picture=2.0)
    orin.board.tell(Figures(engine="onnxruntime", joules_per_picture=31.5))
    told = orin.client.get("/v1/box").get_json()
    assert (told["level"], [trouble["kind"] for trouble in told["troubles"]]) == ("watch", ["throttled", "swapping"])
    assert (told["celsius"], told["throttle_celsius"], told["power_mode"]) == (97.5, 99.0, "10W")
    assert (told["watts"], told["joules_per_picture"], told["gpu_load"]) == (pytest.approx(12.48), 31.5, 0.63)
    assert told["addresses"] == ADDRESSES


def test_what_a_machine_cannot_measure_is_null_and_never_zero(box: Box) -> None:
    told = box.client.get("/v1/box").get_json()
    assert (told["awake"], told["engine"], told["joules_per_picture"], told["addresses"]) == (False, None, None, [])
    assert told["memory_total"] > 0


def test_the_door_is_a_code_where_there_is_a_door(orin: Box, tmp_path: Path) -> None:
    answer = orin.client.get("/v1/box/door.svg")
    assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")
    assert answer.data.startswith(b"<svg")
    alone = make_box(tmp_path / "alone")
    assert "--host 0.0.0.0" in alone.client.get("/v1/box/door.svg").get_json()["detail"]


def metrics(box: Box) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = box.client.get("/metrics").text
    families = list(text_string_to_metric_families(text))
    assert len({(family.name, family.type) for family in families}) == len(families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_have_the_board_and_a_histogram_for_each_stage_and_engine(orin: Box) -> None:
    orin.engine.wake()
    unet = Histogram().with_value(0.02).with_value(0.02).with_value(100.0)
    orin.board.tell(Figures(engine="tensorrt", stages={"unet": unet}, pictures=2, joules=63.0, joules_per_picture=31.5))
    found = metrics(orin)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert value("appliance_temperature_celsius", zone="cpu") == 97.5
    assert value("appliance_rail_watts", rail="VDD_IN") == pytest.approx(12.48)
    assert value("appliance_throttled") == 1
    assert value("appliance_trouble", kind="throttled", level="watch") == 1
    assert value("appliance_stage_seconds_bucket", stage="unet", engine="tensorrt", le="0.01") == 0
    assert value("appliance_stage_seconds_bucket", stage="unet", engine="tensorrt", le="0.025") == 2
    assert value("appliance_stage_seconds_bucket", stage="unet", engine="tensorrt", le="+Inf") == 3
    assert value("appliance_stage_seconds_count", stage="unet", engine="tensorrt") == 3
    assert value("appliance_stage_seconds_sum", stage="unet", engine="tensorrt") == pytest.approx(100.04)
    assert value("appliance_work_joules_total") == 63.0
    assert value("appliance_jobs_total", state="finished") == 0


@pytest.mark.parametrize("name", BOARDS)
def test_every_measure_has_a_unit_in_its_name(name: str, tmp_path: Path) -> None:
    unitless = {"appliance_throttled", "appliance_trouble"}
    units = re.compile(r".*_(celsius|watts|bytes|ratio|hertz|events)")
    for measure in measures(board(name, tmp_path)):
        assert measure.name in unitless or units.fullmatch(measure.name)


def test_a_job_that_the_box_cannot_bear_is_refused_with_a_time_to_ask_again(box: Box) -> None:
    def refuse(request: GenerationRequest) -> None:
        raise Unavailable("Choose one picture of 128x128.", retry_after=41.2)

    box.journal._admit = refuse
    for path in ("/v1/jobs", "/v1/images/generations"):
        answer = box.client.post(path, json={"prompt": "a red apple"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "42")
        assert "Choose one picture" in answer.text


# --- the panel ---------------------------------------------------------------------------------------------------


@pytest.fixture
def at(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """`at("orin-nx", viewport=DESK)`: a page at that board."""
    running: list[Iterator[Visit]] = []

    def come(name: str, disk: Disk | None = None, **context: Any) -> Visit:
        running.append(visiting(browser, tmp_path, board(name, tmp_path, disk), **context))
        return next(running[-1])

    yield come
    for visitor in running:
        assert next(visitor, None) is None


def visiting(browser: Browser, folder: Path, health: Health, **context: Any) -> Iterator[Visit]:
    box = make_box(folder, Limits(heartbeat=0.5), health_of_box=lambda: health, addresses=lambda: ADDRESSES)
    box.board.tell(Figures(engine="onnxruntime", joules_per_picture=31.5))
    painter = Painter(box.engine)
    with served(box) as url, painter.at_work(), visit(browser, box, url, painter, **context) as found:
        yield found


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_says_what_is_wrong_and_what_to_do(
    at: Callable[..., Visit], viewport: ViewportSize, scheme: str
) -> None:
    visitor = at("orin-nx", viewport=viewport, color_scheme=scheme)
    page = visitor.page
    visitor.come()
    page.click("#pulse")
    panel = page.locator("#box")
    expect(panel).to_be_visible()
    expect(panel).to_contain_text("Something needs you.")
    expect(page.locator("#box-troubles li")).to_have_count(2)
    expect(panel).to_contain_text("98 °C · slows down at 99 °C")
    expect(panel).to_contain_text("12.5 W · 10W · 32 J a picture")
    expect(panel).to_contain_text("192.168.1.23:8080")
    expect(page.locator("#box-code")).to_have_js_property("complete", True)
    assert page.evaluate("document.getElementById('box-code').naturalWidth > 0")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert Axe().run(page).response["violations"] == []
    page.keyboard.press("Escape")
    expect(panel).not_to_be_visible()
    expect(page.locator("#pulse")).to_be_focused()


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_a_build_of_plans_is_seen_growing(at: Callable[..., Visit], viewport: ViewportSize) -> None:
    visitor = at("orin-nx", viewport=viewport)
    data_dir = visitor.box.journal.path.parent
    visitor.come()
    with builder.at_work(data_dir):
        visitor.page.click("#pulse")
        panel = visitor.page.locator("#box")
        expect(panel).to_contain_text("The engine is being fitted to this machine. What was asked for is kept.")
        expect(panel).to_contain_text("unet, 2 of 4 · 36 %")
        expect(visitor.page.get_by_role("progressbar", name="Fitting")).to_have_attribute("value", "0.3625")
        assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(panel).not_to_contain_text("Fitting")


def test_a_box_that_is_well_says_so_in_the_visitors_language(at: Callable[..., Visit]) -> None:
    visitor = at("agx-orin", locale="es-ES")
    visitor.come()
    visitor.page.click("#pulse")
    panel = visitor.page.locator("#box")
    expect(panel).to_contain_text("Todo está bien.")
    expect(panel).to_contain_text("61,3 GiB")


def test_every_trouble_has_its_words() -> None:
    root = Path(__file__).parents[2] / "appliance"
    source = "".join((root / name).read_text(encoding="utf-8") for name in ("device/health.py", "web/box.py"))
    kinds = set(re.findall(r'Trouble\(\s*"(\w+)"', source))
    assert {f"trouble_{kind}" for kind in kinds} == {name for name in words("en") if name.startswith("trouble_")}


def test_the_page_asks_nobody_but_its_box(at: Callable[..., Visit]) -> None:
    """With the internet gone everything works, since nothing of it is asked for."""
    visitor = at("pc")
    asked: list[str] = []
    visitor.page.context.on("request", lambda request: asked.append(request.url))
    visitor.come()
    visitor.dream("a red apple")
    visitor.state("finished")
    visitor.page.click("#pulse")
    expect(visitor.page.locator("#box-facts dt").first).to_be_visible()
    manifest = json.loads(visitor.box.client.get("/static/app.webmanifest").text)
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith((visitor.url + "/", "blob:", "data:"))] == []
    assert all(icon["src"].startswith("/") for icon in manifest["icons"])
