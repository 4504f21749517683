"""What the doctor asks over the network: does a box answer where this one should, and does its broker?"""

from __future__ import annotations

import http.client
import ssl
import subprocess

from appliance import module
from appliance.config import Settings
from appliance.errors import EnsuenoError
from appliance.network import port as ports
from appliance.network.addresses import EVERYWHERE

_PATIENCE = 2.0  # seconds for the box's answer


def port(settings: Settings) -> str:
    """Free, or held by a box that answers. Raises `EnsuenoError`."""
    here = "127.0.0.1" if settings.host in EVERYWHERE else settings.host
    where = f"[{here}]:{settings.port}" if ":" in here else f"{here}:{settings.port}"
    status, said = _asked(settings, here)
    if status == http.client.OK and b'"ok"' in said:
        return f"a box answers at {where}"
    if status == http.client.MISDIRECTED_REQUEST:
        raise EnsuenoError(
            f"What answers at {where} does not go by that name: add it to the setting `hosts`, then restart the box."
        )
    ports.check(settings.host, settings.port)
    return f"{settings.port} is free"


def broker(settings: Settings) -> str:
    """What the link's own program says: nothing in `appliance` knows `mqtt`. Raises `EnsuenoError`."""
    if not settings.mqtt:
        return "none is named"
    asked = subprocess.run(
        module.command("mqtt.probe", []),
        input=settings.model_dump_json(),  # no argument: a password may stand in it, and arguments are seen by all
        capture_output=True,
        text=True,
        env=module.environment(),
    )
    if asked.returncode != 0:
        raise EnsuenoError(asked.stderr.strip())
    return asked.stdout.strip()


def _asked(settings: Settings, host: str) -> tuple[int, bytes]:
    """How /healthz is answered; status 0: not at all, or not in HTTP."""
    if settings.secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # told nothing but the question: any certificate will do
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: http.client.HTTPConnection
        connection = http.client.HTTPSConnection(host, settings.port, timeout=_PATIENCE, context=context)
    else:
        connection = http.client.HTTPConnection(host, settings.port, timeout=_PATIENCE)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, answer.read(100)
    except (OSError, http.client.HTTPException, UnicodeError):
        return 0, b""
    finally:
        connection.close()
