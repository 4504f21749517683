"""`python -m mqtt.probe`, begun by `ensueno doctor`: can the link live with these settings, and does its broker answer?

They come as json on standard input; the answer is one sentence.
"""

from __future__ import annotations

import socket
import sys

from appliance.config import Settings
from appliance.device.finding import unforeseen
from appliance.errors import EnsuenoError, Unavailable
from mqtt import topics
from mqtt.address import address_of

_PATIENCE = 3.0  # seconds for a connection


def look(settings: Settings) -> str:
    """Make what the link makes at its start, but write nothing. Raises `BadInput`, `Unavailable`."""
    address = address_of(settings, settings.mqtt or "")
    if address.tls:
        address.context()
    topics.device_name(settings.mqtt_device)
    if settings.mqtt_pool:
        topics.checked_name(settings.mqtt_pool)
    if settings.mqtt_owner_key is not None:
        from mqtt.signing import owner_key  # and with it the cryptography, only where it is needed

        owner_key(settings.mqtt_owner_key)
    try:
        socket.create_connection((address.host, address.port), timeout=_PATIENCE).close()
    except OSError as error:
        raise Unavailable(
            f"The broker {address} cannot be reached ({error.strerror or error}): check its address, the network and "
            "that it runs; telemetry waits on the disk meanwhile."
        ) from None
    return f"{address} answers"


def main(told: str) -> int:
    """→ the exit status: 0 all is well, else one sentence on standard error."""
    try:
        print(look(Settings.model_validate_json(told)))
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except Exception as error:
        print(unforeseen(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
