"""`python -m appliance.worker`: the engine process, as `ensueno serve` or systemd starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from appliance import config, logs
from appliance.errors import EnsuenoError
from appliance.options import serve_options
from appliance.worker.process import run


def main(prog: str, arguments: list[str], live: Callable[[config.Settings], None] = run) -> int:
    """`live` until asked to stop; one sentence on standard error when that is impossible."""
    os.umask(0o077)
    logs.begin("engine")
    try:
        options, file = serve_options(prog, arguments)
        live(config.load(options, file))
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main("python -m appliance.worker", sys.argv[1:]))
