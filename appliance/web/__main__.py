"""`python -m appliance.web`: the web process, as `ensueno serve` or systemd starts it.

It reads the settings, checks them, and then becomes the serving process (exec: the same pid), so that what only the
settings need takes no memory while the box serves.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import NoReturn

from appliance import config
from appliance.errors import EnsuenoError
from appliance.options import serve_options
from appliance.web.server import Plan, open_parts


def main() -> NoReturn:
    """Become the server; or one sentence and the error's own exit status."""
    try:
        plan = made(sys.argv[1:])
        open_parts(plan)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    text = json.dumps(dataclasses.asdict(plan))
    os.execv(sys.executable, [sys.executable, "-m", "appliance.web.process", text])  # noqa: S606


def made(arguments: list[str]) -> Plan:
    """Command line, environment and file → a plan."""
    options, file = serve_options("python -m appliance.web", arguments)
    settings = config.load(options, file)
    return Plan(
        host=settings.host,
        port=settings.port,
        data_dir=str(settings.data_dir.resolve()),
        journal=str(settings.journal_path.resolve()),
        images=str(settings.images_dir.resolve()),
        bundle=str(settings.bundle.resolve()),
        queue_limit=settings.queue_limit,
        reserve_mib=settings.reserve_mib,
    )


if __name__ == "__main__":
    main()
