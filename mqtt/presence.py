"""Whether the box is there, kept on the broker: said at each connection, and by the broker when it vanishes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from appliance import __version__
from appliance.errors import BadInput
from mqtt import topics
from mqtt.connection import Delivery, Will
from mqtt.messages import Presence, read

WILL_DELAY = 5  # seconds: a link that is started again at once was never away


class Birth:
    """Says "online" under a session number and watches over it. `publish` is a `Connection`'s."""

    def __init__(self, device: str, session: int, boot: str, url: str, bundle: str) -> None:
        self.topic = topics.presence(device)
        self._online = Presence(
            device=device, state="online", session=session, boot=boot, version=__version__, url=url, bundle=bundle
        )
        self._offline = Presence(device=device, state="offline", session=session, boot=boot)
        self.doubles = 0  # words of another box with our name

    @property
    def will(self) -> Will:
        return Will(self.topic, self._offline.as_bytes(), WILL_DELAY)

    def say(self, publish: Callable[..., int | None]) -> None:
        publish(self.topic, self._online.as_bytes(), retain=True)

    def part(self, publish: Callable[..., int | None]) -> None:
        """A stop in good order: the will stays unspoken, so say it."""
        publish(self.topic, self._offline.as_bytes(), retain=True)

    def heard(self, delivery: Delivery, publish: Callable[..., int | None]) -> None:
        """Our own topic spoke. An older session's late will is answered; another box with our name is only counted,
        since two that answer each other would never end."""
        if not delivery.payload:
            self.say(publish)  # somebody removed it
            return
        try:
            word = read(Presence, delivery.payload)
        except BadInput:
            self.say(publish)
            return
        if word.boot != self._online.boot:
            self.doubles += 1
            if word.state == "offline" or delivery.retained:
                self.say(publish)  # it is gone, or was here before us (a new disk under an old name)
            else:
                logging.warning("Another box says it is %s too: give each its own name.", self._online.device)
        elif word.state == "offline":
            self.say(publish)
