"""Where the box is found: what is printed, what the code holds, what the name on the network leads to."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import struct
from pathlib import Path

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104
_INSIDE = ("lo", "docker", "br-", "veth", "virbr", "l4tbr")  # interfaces that lead to no neighbour
_SIOCGIFADDR = 0x8915


def alone(host: str) -> bool:
    """Whether a box that listens there serves its own machine alone."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def names(name: str, more: str, host: str = "localhost") -> frozenset[str]:
    """The names it goes by; `more` has commas between them, on `host` it listens. Numbers need not be named."""
    machine = socket.gethostname().lower()
    own = {"localhost", name.lower(), f"{name.lower()}.local", machine, f"{machine.partition('.')[0]}.local"}
    given = {other.strip().lower().removesuffix(".") for other in (*more.split(","), host)}
    return frozenset(own | {other for other in given if other and not _is_number(other)})


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def addresses(host: str, port: int, scheme: str = "http") -> list[str]:
    """On this machine, and when it is open to the network also from a phone."""
    return [f"{scheme}://{name}:{port}" for name in (_here(host), *_outside(host)) if name is not None]


def for_others(host: str, port: int, name: str, scheme: str = "http") -> list[str]:
    """From other devices, the surest first: by number, then by name; none when it serves this machine alone."""
    if alone(host):
        return []
    numbers = _outside(host) if host in EVERYWHERE else [_here(host)]
    return [f"{scheme}://{found}:{port}" for found in (*numbers, f"{name}.local")]


def own_address() -> str | None:
    """The number by which the network reaches this machine, or None without a network."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; tells which of our addresses faces the network
        return str(probe.getsockname()[0])
    return _on_a_network_without_a_gateway()


def _on_a_network_without_a_gateway(routes: Path = Path("/proc/net/route")) -> str | None:
    """Ours on the first network that a cable or an antenna leads to (ioctl SIOCGIFADDR, netdevice(7))."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for line in routes.read_text(encoding="ascii").splitlines()[1:]:
            interface = line.split("\t")[0]
            if not interface.startswith(_INSIDE):
                found = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
                return socket.inet_ntoa(found[20:24])
    return None


def _here(host: str) -> str:
    if alone(host) or host in EVERYWHERE:
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _outside(host: str) -> list[str]:
    own = own_address() if host in EVERYWHERE else None
    return [] if own is None else [own]
