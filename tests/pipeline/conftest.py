"""A tiny bundle, loaded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.request import GenerationRequest
from tests.tiny_bundles import make_tiny_bundle

Wish = Callable[..., GenerationRequest]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


@pytest.fixture(scope="session")
def pipeline(bundle: Bundle) -> Iterator[TextToImage]:
    pipeline = TextToImage.load(bundle, threads=2)
    yield pipeline
    pipeline.close()


@pytest.fixture(scope="session")
def wish(bundle: Bundle) -> Wish:
    """Make a request: wish(prompt="a red apple", steps=3)."""

    def make(**fields: object) -> GenerationRequest:
        offer = bundle.manifest.offer()
        return GenerationRequest.of({"prompt": "a red apple", "seed": 7, **fields}, offer)

    return make
