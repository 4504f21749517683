"""Home Assistant finds the box by itself: one device with its entities, kept on the broker (MQTT discovery).

Words typed into its text field are drawn when they are sent; the button draws the last words again; the select chooses
the size; the image is the newest picture this door asked for. The update is a newer installed version of the bundle,
which it may activate where the owner allows that (`mqtt_home_updates`). Sensors read the box's own telemetry-like
state. The configuration is said at each connection and again when Home Assistant's birth message comes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from appliance import __version__
from appliance.errors import EnsuenoError, NotFound
from appliance.ids import new_id
from appliance.images import ImageStore
from appliance.job import JobState
from appliance.journal import Journal
from appliance.progress import Board
from appliance.request import MAX_PROMPT, GenerationRequest, Offer
from mqtt import topics
from mqtt.connection import Delivery
from mqtt.messages import INLINE_BYTES, HomeBundle, HomeState
from mqtt.updates import Updates

_TEXT_LENGTH = 255  # what Home Assistant allows in a text field
_EVERY = 10.0  # seconds between two states
_INSTALL = "install"
_SENSORS: dict[str, dict[str, Any]] = {
    "jobs_queued": {"name": "Jobs waiting", "state_class": "measurement"},
    "picture_seconds": {
        "name": "Seconds for a picture", "unit_of_measurement": "s", "device_class": "duration",
        "state_class": "measurement",
    },
    "temperature_celsius": {
        "name": "Temperature", "unit_of_measurement": "°C", "device_class": "temperature",
        "state_class": "measurement",
    },
    "power_watts": {
        "name": "Power", "unit_of_measurement": "W", "device_class": "power", "state_class": "measurement",
    },
    "disk_free_bytes": {
        "name": "Free disk", "unit_of_measurement": "B", "device_class": "data_size", "state_class": "measurement",
    },
}  # fmt: skip


class Home:
    """The box as Home Assistant sees it. `publish` is a `Connection`'s; `figures` gives the numbers of the sensors."""

    def __init__(
        self,
        device: str,
        url: str,
        updates: Updates,
        may_update: bool,
        offer: Offer,
        journal: Journal,
        store: ImageStore,
        board: Board,
        figures: Callable[[], Mapping[str, float]],
    ) -> None:
        self._device = device
        self._url = url
        self._updates = updates
        self._may_update = may_update
        self._offer = offer
        self._journal = journal
        self._store = store
        self._board = board
        self._figures = figures
        self._sizes = [f"{width}x{height}" for width, height in offer.sizes]
        self._prompt = ""
        self._size = self._sizes[0]
        self._job: str | None = None
        self._next = 0.0

    @property
    def filters(self) -> tuple[str, ...]:
        entities = ("prompt", "draw", "size", *(["bundle"] if self._may_update else []))
        return (topics.HOME_BIRTH, *(topics.home_set(self._device, entity) for entity in entities))

    def say(self, publish: Callable[..., int | None]) -> None:
        """The configuration and the state, kept on the broker."""
        publish(topics.home_discovery(self._device), json.dumps(self.configuration()).encode(), retain=True)
        self._state(publish)

    def turn(self, publish: Callable[..., int | None], now: float) -> None:
        """The state when it is time, and the picture when it is drawn."""
        if self._job is not None:
            self._show(publish, self._job)
        if now >= self._next:
            self._next = now + _EVERY
            self._state(publish)

    def heard(self, delivery: Delivery, publish: Callable[..., int | None]) -> None:
        """Home Assistant speaks; what it says is held to the same limits as every door's."""
        try:
            words = delivery.payload[: 4 * MAX_PROMPT].decode("utf-8")
        except UnicodeDecodeError:
            return
        if delivery.topic == topics.HOME_BIRTH:
            if words == "online":
                self.say(publish)
        elif delivery.retained:
            return  # an old wish that somebody kept on the broker
        elif delivery.topic == topics.home_set(self._device, "bundle"):
            if words == _INSTALL and self._may_update:
                self._updates.begin()
                self._state(publish)
        elif delivery.topic == topics.home_set(self._device, "size"):
            self._size = words if words in self._sizes else self._size
            self._state(publish)
        elif delivery.topic == topics.home_set(self._device, "prompt"):
            self._prompt = words
            self._draw()
            self._state(publish)
        elif self._prompt:
            self._draw()

    def configuration(self) -> dict[str, Any]:
        """The discovery payload of the whole device."""
        state = topics.home(self._device, "state")
        components = {
            name: {
                "platform": "sensor", "unique_id": self._unique(name), "state_topic": state,
                "value_template": f"{{{{ value_json.{name} | default(none) }}}}", **words,
            }
            for name, words in _SENSORS.items()
        }  # fmt: skip
        return {
            "device": {
                "identifiers": [f"ensueno-{self._device}"], "name": self._device, "manufacturer": "Ensueño",
                "model": f"{self._updates.name} {self._updates.installed}", "sw_version": __version__,
                "configuration_url": self._url,
            },
            "origin": {"name": "ensueno", "sw_version": __version__},
            "availability": [
                {
                    "topic": topics.presence(self._device), "value_template": "{{ value_json.state }}",
                    "payload_available": "online", "payload_not_available": "offline",
                }
            ],
            "qos": 1,
            "components": components | self._controls(state),
        }  # fmt: skip

    # --- inside ----------------------------------------------------------------------------------------------------

    def _controls(self, state: str) -> dict[str, dict[str, Any]]:
        def control(platform: str, name: str, label: str, **more: Any) -> dict[str, Any]:
            return {"platform": platform, "unique_id": self._unique(name), "name": label, **more}

        def command(name: str) -> str:
            return topics.home_set(self._device, name)

        return {
            "picture": control(
                "image", "picture", "Picture", image_topic=topics.home(self._device, "picture"),
                content_type="image/png",
            ),
            "prompt": control(
                "text", "prompt", "Prompt", command_topic=command("prompt"), state_topic=state,
                value_template="{{ value_json.prompt }}", min=0, max=_TEXT_LENGTH,
            ),
            "draw": control("button", "draw", "Draw again", command_topic=command("draw"), payload_press="PRESS"),
            "size": control(
                "select", "size", "Size", command_topic=command("size"), state_topic=state,
                value_template="{{ value_json.size }}", options=self._sizes,
            ),
            "bundle": control(
                "update", "bundle", "Model bundle", state_topic=state, title=self._updates.name,
                value_template="{{ value_json.model | tojson }}",
                **({"command_topic": command("bundle"), "payload_install": _INSTALL} if self._may_update else {}),
            ),
        }  # fmt: skip

    def _state(self, publish: Callable[..., int | None]) -> None:
        numbers = {name: value for name, value in self._figures().items() if name in _SENSORS}
        updates = self._updates
        bundle = HomeBundle(
            installed_version=updates.installed, latest_version=updates.latest, in_progress=updates.busy
        )
        state = HomeState(prompt=self._prompt[:_TEXT_LENGTH], size=self._size, model=bundle, **numbers)
        publish(topics.home(self._device, "state"), state.model_dump_json().encode(), retain=True)

    def _draw(self) -> None:
        try:
            request = GenerationRequest.of({"prompt": self._prompt, "size": self._size}, self._offer)
            job, _ = self._journal.submit(request, job_id=new_id(), origin="home")
        except EnsuenoError as error:
            logging.warning("Home Assistant's wish was refused: %s", error)
            return
        self._job = job.id
        self._board.ring(job.id)

    def _show(self, publish: Callable[..., int | None], job_id: str) -> None:
        job = self._journal.job(job_id)
        if not job.state.ended:
            return
        self._job = None
        if job.state is JobState.FINISHED:
            self._publish_picture(publish, job.images[0])

    def _publish_picture(self, publish: Callable[..., int | None], image_id: str) -> None:
        try:
            png = self._store.path(image_id).read_bytes()
        except (NotFound, OSError):
            return
        if len(png) <= INLINE_BYTES:
            publish(topics.home(self._device, "picture"), png, retain=True)

    def _unique(self, name: str) -> str:
        return f"ensueno-{self._device}-{name}"
