"""The vocabulary of the MQTT tests: a broker, boxes with a link, and an ear that hears what is said."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.pipeline.text_to_image import TextToImage
from tests.mqtt.broker import Broker, broker
from tests.mqtt.rig import Ear, Rig, until

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests that do not harm it: each uses names of its own."""
    with broker(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


@pytest.fixture
def own_mosquitto(tmp_path: Path) -> Iterator[Broker]:
    """A broker to be killed."""
    with broker(tmp_path / "mosquitto") as running:
        yield running


@pytest.fixture
def name() -> str:
    """A device's or pool's name that no other test has."""
    return f"box-{next(_NUMBERS)}"


@pytest.fixture
def make_box(
    tmp_path: Path, tiny_folder: Path, pipeline: TextToImage, mosquitto: Broker
) -> Iterator[Callable[..., Rig]]:
    """`make_box(name, pool=…)`: a box whose link the broker has taken."""
    boxes: list[Rig] = []

    def make(box_name: str, *, url: str | None = None, folder: str | None = None, **more: Any) -> Rig:
        box = Rig(tmp_path / (folder or box_name), tiny_folder, pipeline, url or mosquitto.url, box_name, **more)
        boxes.append(box)
        until(lambda: box.link.subscribed, box)
        return box

    yield make
    for box in boxes:
        box.close()


@pytest.fixture
def make_ear(mosquitto: Broker) -> Iterator[Callable[..., Ear]]:
    """`make_ear(filter, …)`: one that hears."""
    ears: list[Ear] = []

    def make(*filters: str, url: str | None = None) -> Ear:
        ear = Ear(url or mosquitto.url, f"ear-{next(_NUMBERS)}", filters)
        ears.append(ear)
        until(lambda: ear.ready, ear)
        return ear

    yield make
    for ear in ears:
        ear.close()
