"""The way a newcomer goes, with the bundled model: the page in a real browser, the real engine behind it."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from appliance.config import BUNDLED
from tests.served import Served, running
from tests.web.browser import PHONE, launch

WATCH = """
    window.previews = new Set();
    new MutationObserver(() => {
        for (const picture of document.querySelectorAll('.dream img'))
            if (picture.src.startsWith('blob:')) window.previews.add(picture.src);
    }).observe(document, {subtree: true, childList: true, attributes: true, attributeFilter: ['src']});
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(BUNDLED, tmp_path_factory.mktemp("whole")) as box:
        yield box


def picture(served: Served, image_id: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with urllib.request.urlopen(f"{served.url}/v1/images/{image_id}.png") as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())))


def test_on_a_phone_a_red_apple_forms_out_of_noise_and_is_kept(served: Served) -> None:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_context(viewport=PHONE, locale="en-GB").new_page()
        page.add_init_script(WATCH)
        page.goto(served.url)
        page.fill("#prompt", "a red apple")
        page.click("#go")
        page.wait_for_selector(".dream:first-child[data-state=finished]", timeout=60_000)
        previews = page.evaluate("window.previews.size")
        browser.close()
    assert previews >= 2
    (image, *_) = served.call("/v1/images?limit=1")[1]["images"]
    assert image["prompt"] == "a red apple"
    pixels = picture(served, image["id"]).astype(int)
    assert pixels.shape == (128, 128, 3)
    assert pixels.std() > 10


def test_a_red_apple_is_red_where_it_is_not_white(served: Served) -> None:
    status, job = served.call("/v1/jobs", {"prompt": "a red apple", "seed": 7})
    assert status == 202
    pixels = picture(served, served.ended(job["id"])["images"][0]).astype(int)
    painted = pixels[pixels.min(axis=-1) < 200]
    assert len(painted) > 400
    red, green, blue = painted.mean(axis=0)
    assert red > green + 40
    assert red > blue + 40


def test_a_word_means_what_it_means_in_its_place(served: Served) -> None:
    """The oval ball is brown; the round one is not."""
    balls = {}
    for locale in ("en", "en-GB"):
        job = served.call("/v1/jobs", {"prompt": "football", "locale": locale, "seed": 3})[1]
        pixels = picture(served, served.ended(job["id"])["images"][0]).astype(int)
        balls[locale] = pixels[pixels.min(axis=-1) < 200].mean(axis=0)
    assert balls["en"][0] > balls["en"][2] + 20
    assert balls["en-GB"][0] < balls["en-GB"][2] + 20


def test_the_bundled_model_is_whole_and_small(served: Served) -> None:
    from appliance.pipeline.manifest import Bundle

    bundle = Bundle.open(BUNDLED)
    bundle.verify()
    assert sum(component.parameters for component in bundle.manifest.components.values()) <= 24_000_000
    assert {"en", "en-GB", "es", "es-419"} <= set(bundle.manifest.examples)


@pytest.mark.parametrize("prompt", ["ðə ˈæpəl", "xyzzy plugh", "🍎", "تفاحة حمراء", "a" * 2000])
def test_an_unknown_word_gives_a_picture_and_never_an_error(served: Served, prompt: str) -> None:
    status, job = served.call("/v1/jobs", {"prompt": prompt, "seed": 1, "steps": 4})
    assert status == 202
    assert served.ended(job["id"])["state"] == "finished"


def test_the_source_folder_holds_no_weights_and_says_where_they_lie() -> None:
    links = json.loads((Path(BUNDLED) / "source" / "links.json").read_text())
    assert {"text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors"} < set(links)
    assert all((Path(BUNDLED) / where).is_file() for where in links.values())
    assert not any(path.is_symlink() for path in Path(BUNDLED).rglob("*"))
    assert not list((Path(BUNDLED) / "source").rglob("*.safetensors"))
