"""`python -m appliance.web`: the web process, as `ensueno serve` or systemd starts it.

It reads the settings, checks them, and then becomes the serving process (exec: the same pid), so that what only the
settings need takes no memory while the box serves.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from appliance import config, module
from appliance.errors import EnsuenoError, kept_status
from appliance.network.addresses import for_others
from appliance.options import serve_options
from appliance.people.access import Access, Door, Role
from appliance.people.invitation import invitation
from appliance.web.server import Plan, open_parts, plan_of


def main() -> NoReturn:
    """Become the server; or one sentence and the error's own exit status."""
    try:
        plan = made(sys.argv[1:])
        open_parts(plan)
        _open_door(plan)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        sys.exit(kept_status(error))
    text = json.dumps(dataclasses.asdict(plan))
    os.execv(sys.executable, module.command("appliance.web.process", [text]))  # noqa: S606


def made(arguments: list[str]) -> Plan:
    """Command line, environment and file → a plan."""
    options, file = serve_options("python -m appliance.web", arguments)
    return plan_of(config.load(options, file))


def _open_door(plan: Plan) -> None:
    """Say where the box is found, and as long as nobody owns it, by which PIN somebody may."""
    access = Access(Path(plan.access))
    found = for_others(plan.host, plan.port, plan.name, plan.scheme)
    access.set_door(Door(address=found[0], fingerprint=plan.fingerprint) if found else None)
    if found and not access.owned:
        print(invitation(access, Role.OWNER, with_code=sys.stdout.isatty()), flush=True)


if __name__ == "__main__":
    main()
