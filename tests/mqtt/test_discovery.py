"""Home Assistant's side, spoken by an ear: it finds the box, types words, and sees the picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped,unused-ignore]
import pytest
from jinja2 import Environment

from appliance.bundles.install import install
from appliance.bundles.slots import Slots
from mqtt import topics
from tests.mqtt import home_assistant
from tests.mqtt.rig import Ear, until
from tests.tiny_bundles import make_tiny_bundle

Make = Callable[..., Any]


def update_of(ear: Ear, name: str) -> dict[str, Any]:
    """The update entity's last state, as Home Assistant reads it: by the template it was told."""
    template = ear.bodies(topics.home_discovery(name))[-1]["components"]["bundle"]["value_template"]
    said = ear.bodies(topics.home(name, "state"))[-1]
    read: dict[str, Any] = json.loads(Environment(autoescape=True).from_string(template).render(value_json=said))
    return read


def test_the_box_is_found_with_all_its_entities_and_again_after_a_birth(
    make_box: Make, make_ear: Make, name: str
) -> None:
    ear = make_ear(topics.home_discovery(name))
    box = make_box(name)
    until(lambda: ear.heard, box, ear)
    found = ear.bodies(topics.home_discovery(name))[0]
    platforms = {component["platform"] for component in found["components"].values()}
    assert platforms == {"image", "text", "button", "select", "sensor", "update"}
    unique = [component["unique_id"] for component in found["components"].values()]
    assert len(set(unique)) == len(unique)
    count = len(ear.heard)
    ear.say(topics.HOME_BIRTH, b"online")
    until(lambda: len(ear.heard) > count, box, ear)


def test_what_it_is_told_is_what_its_documentation_lets_it_be_told(make_box: Make, make_ear: Make, name: str) -> None:
    ear = make_ear(topics.home_discovery(name), topics.home(name, "state"))
    box = make_box(name)
    until(
        lambda: {one.topic for one in ear.heard} == {topics.home_discovery(name), topics.home(name, "state")}, box, ear
    )
    jsonschema.Draft202012Validator.check_schema(home_assistant.DISCOVERY)
    jsonschema.validate(ear.bodies(topics.home_discovery(name))[0], home_assistant.DISCOVERY)
    state = ear.bodies(topics.home(name, "state"))[0]
    jsonschema.validate(update_of(ear, name), home_assistant.UPDATE_STATE)
    assert isinstance(state["prompt"], str)
    assert state["size"] in ear.bodies(topics.home_discovery(name))[0]["components"]["size"]["options"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: said["components"]["prompt"].pop("command_topic"),
        lambda said: said["components"]["size"].update(options=[]),
        lambda said: said["components"]["picture"].update(url_topic="a/b"),
        lambda said: said["components"]["prompt"].update(max=256),
        lambda said: said["components"]["temperature_celsius"].update(unit_of_measurement="W"),
        lambda said: said["components"]["draw"].update(press="PRESS"),
        lambda said: said["components"]["bundle"].pop("unique_id"),
        lambda said: said["device"].pop("identifiers"),
        lambda said: said.pop("origin"),
    ],
)
def test_what_its_documentation_forbids_is_found_out(make_box: Make, name: str, spoil: Callable[[Any], Any]) -> None:
    said = make_box(name).link.home.configuration()
    jsonschema.validate(said, home_assistant.DISCOVERY)
    spoil(said)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(said, home_assistant.DISCOVERY)


def test_every_topic_it_is_told_is_one_that_the_box_speaks_or_hears(make_box: Make, name: str) -> None:
    box = make_box(name)
    for component in box.link.home.configuration()["components"].values():
        if "command_topic" in component:
            assert component["command_topic"] in box.link.home.filters
        for key in ("state_topic", "image_topic"):
            assert component.get(key, topics.home(name, "state")).startswith(f"ensueno/v1/{name}/home/")


def test_words_typed_there_become_a_picture_there(make_box: Make, make_ear: Make, name: str) -> None:
    ear = make_ear(topics.home(name, "picture"), topics.home(name, "state"))
    box = make_box(name)
    ear.say(topics.home_set(name, "size"), b"96x64")
    ear.say(topics.home_set(name, "prompt"), b"una manzana")
    until(lambda: any(one.topic == topics.home(name, "picture") for one in ear.heard), box, ear)
    picture = next(one.payload for one in ear.heard if one.topic == topics.home(name, "picture"))
    assert picture.startswith(b"\x89PNG")
    states = ear.bodies(topics.home(name, "state"))
    assert (states[-1]["prompt"], states[-1]["size"]) == ("una manzana", "96x64")
    assert box.journal.gallery.images()[0].width == 96


def test_what_it_cannot_draw_harms_nobody(make_box: Make, make_ear: Make, name: str) -> None:
    ear, box = make_ear(topics.reply(name)), make_box(name)
    for entity in ("prompt", "size", "draw"):
        for payload in (b"\xff", b"", b"x" * 50_000, json.dumps({}).encode()):
            ear.say(topics.home_set(name, entity), payload)
    ear.say(topics.jobs(name), {"id": "a", "prompt": "an apple"}, response_topic=topics.reply(name))
    until(lambda: "end" in ear.kinds(topics.reply(name)), box, ear)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The bundle that the boxes draw with, one version on."""
    return make_tiny_bundle(tmp_path / "newer", version="0.0.10")


def test_a_newer_installed_version_of_the_bundle_is_an_update(
    make_box: Make, make_ear: Make, name: str, newer: Path
) -> None:
    ear, box = make_ear(topics.home(name, "state"), topics.home_discovery(name)), make_box(name)
    until(lambda: ear.bodies(topics.home(name, "state")) and ear.bodies(topics.home_discovery(name)), box, ear)
    assert update_of(ear, name) == {"installed_version": "0.0.1", "latest_version": "0.0.1", "in_progress": False}
    slots = Slots(box.settings.data_dir)
    install(newer, slots)
    install(make_tiny_bundle(newer.parent / "other", name="tiny-other", version="9.0"), slots)
    box.link.home._next = 0.0
    until(lambda: update_of(ear, name)["latest_version"] == "0.0.10", box, ear)
    assert "command_topic" not in ear.bodies(topics.home_discovery(name))[-1]["components"]["bundle"]
    ear.say(topics.home_set(name, "bundle"), b"install")
    ear.say(topics.home_set(name, "size"), b"96x64")
    until(lambda: ear.bodies(topics.home(name, "state"))[-1]["size"] == "96x64", box, ear)
    assert not update_of(ear, name)["in_progress"]


def test_where_the_owner_allows_it_the_update_is_made_from_there(
    make_box: Make, make_ear: Make, name: str, newer: Path
) -> None:
    ear = make_ear(topics.home(name, "state"), topics.home_discovery(name))
    box = make_box(name, mqtt_home_updates=True)
    slots = Slots(box.settings.data_dir)
    slot = install(newer, slots)
    until(lambda: ear.bodies(topics.home_discovery(name)) and ear.bodies(topics.home(name, "state")), box, ear)
    entity = ear.bodies(topics.home_discovery(name))[-1]["components"]["bundle"]
    ear.say(entity["command_topic"], entity["payload_install"].encode())
    until(lambda: update_of(ear, name)["in_progress"], box, ear)
    until(lambda: slots.pointer().active == slot, box, ear)
    assert box.link._slot.moved()  # so it ends, and is started again with the new one
