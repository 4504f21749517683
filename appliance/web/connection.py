"""A client's connection, and what keeps one client from holding all threads: a time for reading, a share of threads."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

WRITING = 60.0  # seconds for one write: a stream may last, its reader must read
PARTING = 2.0  # seconds for a client to read the last of an answer and close


class Hurried(socket.socket):
    """Whoever is too slow counts as gone (`ConnectionResetError`).

    All that is read must arrive before `deadline` (monotonic seconds), however small its pieces.
    """

    deadline = 0.0

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if flags:  # somebody peeks
            return super().recv(bufsize, flags)
        with self._within(self.deadline - time.monotonic()):
            return super().recv(bufsize)

    def sendall(self, data: bytes, flags: int = 0, /) -> None:  # type: ignore[override]
        with self._within(WRITING):
            super().sendall(data, flags)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:  # type: ignore[override]
        with self._within(WRITING):
            return super().sendfile(file, offset, count)

    def part(self) -> None:
        """Let the client read the answer to its end: here, since gunicorn would wait for it in its main loop."""
        self.deadline = min(self.deadline, time.monotonic() + PARTING)
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_WR)
            while self.recv(4096):
                pass
        self.deadline = 0.0

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        try:
            if seconds <= 0:
                raise TimeoutError
            self.settimeout(seconds)
            yield
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "too slow") from None
        finally:
            self.settimeout(None)


class Connection(Hurried):
    """Takes over an accepted socket."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(fileno=accepted.detach())


class TlsConnection(Hurried, ssl.SSLSocket):  # type: ignore[misc]  # arguments differ in name alone
    """The same over TLS: made of a `Connection` by its context, so it begins with a patience of its own."""

    patience = 10.0  # seconds for the handshake and the first request

    def do_handshake(self, block: bool = False) -> None:
        self.deadline = time.monotonic() + self.patience
        with self._within(self.patience):
            super().do_handshake(block)

    def part(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._within(PARTING):
            self.unwrap()  # says goodbye, so that nobody takes the end for a cut
        super().part()


def tls(cert: str, key: str, patience: float) -> ssl.SSLContext:
    """What a server shows, and how its connections are made."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    context.sslsocket_class = type("Patient", (TlsConnection,), {"patience": patience})
    return context


def client_address(address: str | None) -> str:
    """Whom to count: the peer of the connection, of IPv6 its network, since one device has many of its addresses."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found) if found.is_loopback else str(ipaddress.ip_network((found, 64), strict=False))


class Shares:
    """At most `most` threads at a time for one client; this machine's own (a proxy, a probe) are not counted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def thread(self, address: str) -> Iterator[bool]:
        """Whether there is one for who comes from there; held for a block."""
        client = client_address(address)
        if client.startswith("127.") or client == "::1":
            yield True
            return
        with self._lock:
            granted = self._held[client] < self._most
            self._held[client] += granted
        try:
            yield granted
        finally:
            with self._lock:
                self._held[client] -= granted
                self._held += Counter()  # forget who holds none
