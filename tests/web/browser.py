"""The distribution's Chromium on a served box; its engine is a thread (see `Painter` for what that proves)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Route, ViewportSize

from appliance.request import GenerationRequest
from tests.web.box import Box, Painter

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 800}
SOUGHT = "Failed to load resource"  # what the browser notes when a test makes the box refuse

logging.getLogger("werkzeug").setLevel(logging.ERROR)


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)


@dataclass
class Visit:
    """One visitor: a page, the box behind it, and the thread that draws."""

    page: Page
    box: Box
    painter: Painter
    url: str
    notes: list[str]

    def come(self, path: str = "/") -> None:
        """Open the page and wait until it has met the box."""
        self.page.goto(self.url + path)
        self.page.wait_for_selector("#examples .chip")

    def dream(self, prompt: str) -> None:
        self.page.fill("#prompt", prompt)
        self.page.click("#go")

    def state(self, state: str) -> None:
        """Wait until the newest job on the stage is in that state."""
        self.page.wait_for_selector(f".dream:first-child[data-state={state}]")

    def drawn(self, count: int, **fields: Any) -> None:
        """Pictures that are in the gallery already."""
        for index in range(count):
            self.box.client.post("/v1/jobs", json={"prompt": f"picture {index}"} | fields)
            self.box.engine.draw()

    def seeds(self) -> list[int]:
        """Seeds of all jobs, the oldest first."""
        return [request.seed for request in self.requests() if request.seed is not None]

    def requests(self) -> list[GenerationRequest]:
        """What every job asked for, the oldest first."""
        rows = self.box.journal.database.connection.execute("SELECT id FROM jobs ORDER BY seq")
        return [self.box.journal.job(row[0]).request for row in rows]


@contextmanager
def visit(browser: Browser, box: Box, url: str, painter: Painter, **context: Any) -> Iterator[Visit]:
    """A fresh visitor; leaves only if the page broke no rule of its own: no script error, no CSP violation."""
    settings = {"viewport": PHONE, "locale": "en-GB", "reduced_motion": "reduce"} | context
    notes: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and SOUGHT not in message.text:
            notes.append(message.text)

    visitor = browser.new_context(**settings)
    try:
        page = visitor.new_page()
        page.set_default_timeout(30_000)
        page.on("console", note)
        page.on("pageerror", lambda error: notes.append(str(error)))
        yield Visit(page, box, painter, url, notes)
    finally:
        visitor.close()
    assert notes == []


@contextmanager
def held(page: Page, pattern: str) -> Iterator[None]:
    """A slow network: within it no request of that pattern is answered."""
    routes: list[Route] = []
    page.route(pattern, lambda route: routes.append(route))
    yield
    for route in routes:
        route.continue_()
    page.unroute(pattern)


def comers(visiting: Callable[..., Iterator[Visit]]) -> Iterator[Callable[..., Visit]]:
    """For a fixture: call what it yields for each visitor, by the arguments of `visiting`; all leave in the end."""
    open_visits: list[Iterator[Visit]] = []

    def come(**context: Any) -> Visit:
        running = visiting(**context)
        open_visits.append(running)
        return next(running)

    yield come
    for running in open_visits:
        assert next(running, None) is None
