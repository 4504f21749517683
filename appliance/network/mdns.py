"""The box's name on the local network: `<name>.local`, and itself in the lists of what is there (DNS-SD, RFC 6763)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence

from zeroconf import Error, ServiceInfo, Zeroconf

from appliance.network.addresses import own_address

LOOK_EVERY = 15.0  # seconds: a box may start before its network, and be given another number


class Announcer:
    """Answers for the name while it is open. `turn` looks whether the network changed, and announces anew if so.

    `scheme` is http or https.
    """

    def __init__(
        self,
        name: str,
        port: int,
        scheme: str,
        own: Callable[[], str | None] = own_address,
        interfaces: Sequence[str] | None = None,
    ) -> None:
        self._name = name
        self._port = port
        self._kind = f"_{scheme}._tcp.local."
        self._own = own
        self._interfaces = interfaces
        self._announced: str | None = None
        self._zeroconf: Zeroconf | None = None

    def turn(self) -> None:
        """One look."""
        own = self._own()
        if own == self._announced:
            return
        self.close()
        if own is not None:
            self._zeroconf = Zeroconf(interfaces=list(self._interfaces or [own]))
            self._zeroconf.register_service(self._service(own), allow_name_change=True)
            self._announced = own

    def close(self) -> None:
        """Say goodbye."""
        gone, self._zeroconf, self._announced = self._zeroconf, None, None
        if gone is not None:
            gone.close()

    def _service(self, own: str) -> ServiceInfo:
        return ServiceInfo(
            self._kind,
            f"{self._name}.{self._kind}",
            port=self._port,
            server=f"{self._name}.local.",
            addresses=[socket.inet_aton(own)],
            properties={"path": "/"},
        )


def begin(name: str, port: int, scheme: str) -> threading.Event:
    """Announce in a thread of its own until the event is set; a network that refuses is asked again later."""
    over = threading.Event()

    def keep() -> None:
        announcer = Announcer(name, port, scheme)
        while True:
            try:
                announcer.turn()
            except (OSError, Error):
                with contextlib.suppress(OSError, Error):
                    announcer.close()
            if over.wait(LOOK_EVERY):
                return announcer.close()

    threading.Thread(target=keep, name="mdns", daemon=True).start()
    return over
