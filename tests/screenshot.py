"""`scripts/screenshot`: the README's picture, from a box that really runs."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from appliance.config import BUNDLED
from appliance.pipeline.manifest import Bundle
from tests.served import Served, running
from tests.web.browser import PHONE, launch

WISH = "two people on the mountain"
GALLERY = 8


def shot(browser: Browser, box: Served, scheme: str, *, forming: bool) -> Image.Image:
    """The phone's screen, while a picture forms or after it has."""
    context = browser.new_context(
        viewport=PHONE, locale="en-GB", color_scheme=scheme, device_scale_factor=2  # type: ignore[arg-type]
    )  # fmt: skip
    page = context.new_page()
    page.goto(box.url)
    page.wait_for_selector("#examples .chip")
    if forming:
        page.click("#settings summary")
        page.eval_on_selector("#steps", "slider => { slider.value = slider.max; }")
        page.dispatch_event("#steps", "input")
        page.click("#settings summary")
    page.fill("#prompt", WISH)
    page.click("#go")
    page.wait_for_selector(".dream:first-child img[src^='blob:']" if forming else ".dream[data-state=finished]")
    page.wait_for_timeout(600)
    screen = Image.open(io.BytesIO(page.screenshot()))
    context.close()
    return screen


def main(target: Path) -> None:
    """Two screens side by side: forming in the dark, kept in the light."""
    examples = Bundle.open(BUNDLED).manifest.examples["en"]
    with (
        tempfile.TemporaryDirectory() as folder,
        running(BUNDLED, Path(folder)) as box,
        sync_playwright() as playwright,
    ):
        for prompt in examples[:GALLERY]:
            box.ended(box.call("/v1/jobs", {"prompt": prompt, "seed": 7})[1]["id"])
        browser = launch(playwright)
        screens = [shot(browser, box, "dark", forming=True), shot(browser, box, "light", forming=False)]
        browser.close()
    width, height = screens[0].size
    both = Image.new("RGB", (2 * width + 40, height), "white")
    for index, screen in enumerate(screens):
        both.paste(screen, (index * (width + 40), 0))
    both.resize((both.width // 2, both.height // 2), Image.Resampling.LANCZOS).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
