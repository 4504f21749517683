"""`python -m appliance.web.ready [--config FILE]`, a health check: exit status 0 when the box here is ready, else 1.

It asks by https where http gets no answer. The certificate is not looked at: the question never leaves the machine.
"""

from __future__ import annotations

import http.client
import ssl
import sys

from appliance import config
from appliance.errors import EnsuenoError
from appliance.network.addresses import EVERYWHERE
from appliance.options import serve_options

PATIENCE = 8.0


def ready(host: str, port: int) -> bool:
    """Whether `/readyz` of a box that serves on `host` says yes."""
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    here = "127.0.0.1" if host in EVERYWHERE else host
    plain = http.client.HTTPConnection(here, port, timeout=PATIENCE)
    secure = http.client.HTTPSConnection(here, port, timeout=PATIENCE, context=anyone)
    for connection in (plain, secure):
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    return False


def main(arguments: list[str]) -> int:
    """→ the exit status: 0 ready, 1 not, 2 for bad input."""
    try:
        options, file = serve_options("python -m appliance.web.ready", arguments)
        settings = config.load(options, file)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0 if ready(settings.host, settings.port) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
