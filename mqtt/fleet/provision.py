"""One command gives a device, or another user of the broker, all it needs: certificate, rights, configuration.

Under <pki>:

    ca.key ca.crt crl.pem      the authority; ca.key never leaves this machine
    issued.json revoked.json   whose certificates it made, and which are over
    broker/                    all that the broker reads: its key and certificate, ca.crt, crl.pem, acl
    <name>/                    cert.pem key.pem ca.crt mqtt.toml, to be carried to the device and then removed here
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import BadInput
from mqtt import topics
from mqtt.address import Address
from mqtt.fleet import acl
from mqtt.fleet.certificates import Authority, write

BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Pki:
    """The folder that an authority and its broker's files lie in."""

    folder: Path

    @property
    def rights(self) -> Path:
        """The file of everyone's rights."""
        return self.folder / BROKER / "acl"

    def broker(self, hosts: Sequence[str]) -> Path:
        """The broker's key and certificate for these host names or addresses; returns their folder."""
        if not hosts:
            raise BadInput("The broker's certificate needs a name: give --host, as devices will call it.")
        return self._issue(BROKER, hosts, days=825)

    def user(
        self, name: str, role: acl.Role, *, pools: Sequence[str] = (), broker: str = "", days: float = 825
    ) -> Path:
        """A user's certificate, rights and configuration; returns the folder to carry there. Raises `BadInput`."""
        topics.checked_name(name)
        for pool in pools:
            topics.checked_name(pool)
        if name == BROKER:
            raise BadInput("'broker' names the broker itself: choose another name.")
        if broker and not Address.of(broker).tls:
            raise BadInput("A certificate needs an encrypted connection: give --broker mqtts://HOST:8883.")
        folder = self._issue(name, (), days)
        acl.save(self.rights, {**acl.read(self.rights), name: acl.block(name, role, pools)})
        write(folder / "mqtt.toml", _configuration(name, pools, broker).encode())
        return folder

    def revoke(self, name: str) -> None:
        """Take a user's rights and all its certificates away. Raises `BadInput` when there is no such user."""
        blocks = acl.read(self.rights)
        known = blocks.pop(name, None) is not None
        if (self.folder / "ca.key").exists():
            known = Authority(self.folder).revoke(name) or known
        if not known:
            raise BadInput(f"{self.folder} knows no {name}: check the name.")
        acl.save(self.rights, blocks)
        self._publish()

    def _issue(self, name: str, hosts: Sequence[str], days: float) -> Path:
        authority = Authority(self.folder)
        key, certificate = authority.issue(name, hosts, days=days)
        folder = self.folder / name
        write(folder / "key.pem", key)
        write(folder / "cert.pem", certificate, mode=0o644)
        write(folder / "ca.crt", (self.folder / "ca.crt").read_bytes(), mode=0o644)
        if not self.rights.exists():
            acl.save(self.rights, {})
        self._publish()
        return folder

    def _publish(self) -> None:
        """Put beside the broker's key what else it reads of the authority."""
        for name in ("ca.crt", "crl.pem"):
            write(self.folder / BROKER / name, (self.folder / name).read_bytes(), mode=0o644)


def _configuration(name: str, pools: Sequence[str], broker: str) -> str:
    folder = "/etc/ensueno/mqtt"
    lines = [
        f"# For the configuration file of the box; this folder goes to {folder}, readable by its service alone.",
        f"mqtt = {json.dumps(broker or 'mqtts://BROKER:8883')}",
        f'mqtt_device = "{name}"',
        f'mqtt_pool = "{pools[0] if pools else ""}"',
        f'mqtt_ca = "{folder}/ca.crt"',
        f'mqtt_certificate = "{folder}/cert.pem"',
        f'mqtt_key = "{folder}/key.pem"',
    ]
    return "\n".join([*lines, ""])
