"""A TCP proxy that does what bad networks do: it stalls, resets, slices, and half-opens. One thread, no sleep.

with Proxy(port) as proxy:      # connect to proxy.port
    proxy.mode = "stall"        # nothing passes, nothing closes
    proxy.reset()               # RST to both ends of every connection
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from typing import Literal

Mode = Literal["pass", "slice", "stall", "half_open"]
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


class Proxy:
    """`mode`: pass; slice (seven bytes at a time); stall (accepted bytes pile up); half_open (accepts, and connects to
    nobody). A change holds for open connections too, but for half_open, which holds for new ones."""

    def __init__(self, to_port: int) -> None:
        self.mode: Mode = "pass"
        self.accepted = 0
        self._to = to_port
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._peers: dict[socket.socket, socket.socket] = {}
        self._orphans: list[socket.socket] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join(5)
        self.reset()
        self._listener.close()

    def reset(self) -> None:
        """Cut every connection with RST."""
        with self._lock:
            for one in [*self._peers, *self._orphans]:
                with contextlib.suppress(OSError, KeyError, ValueError):
                    self._selector.unregister(one)
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.close()
            self._peers.clear()
            self._orphans.clear()

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(0.02):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and self.mode != "stall":
                    self._forward(key.fileobj)
            if self.mode == "stall":
                threading.Event().wait(0.02)  # what is readable stays so: do not spin

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        self.accepted += 1
        if self.mode == "half_open":
            self._orphans.append(near)
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._to), timeout=5)
        except OSError:
            near.close()
            return
        with self._lock:
            self._peers[near], self._peers[far] = far, near
            self._selector.register(near, selectors.EVENT_READ)
            self._selector.register(far, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        with self._lock:
            target = self._peers.get(source)
            if target is None:
                return
            try:
                data = source.recv(7 if self.mode == "slice" else 65536)
                target.sendall(data)
            except OSError:
                data = b""
            if not data:
                for one in (source, target):
                    self._selector.unregister(one)
                    self._peers.pop(one, None)
                    one.close()
