"""`python -m appliance.web --host HOST --port PORT --data-dir DIR --bundle DIR`: the web process."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from appliance.errors import EnsuenoError
from appliance.web.server import Address, make_app, serve


def main() -> int:
    """Exit status 0 after a stop that was asked for; one sentence and the error's own status otherwise."""
    parser = argparse.ArgumentParser(prog="python -m appliance.web", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    options = parser.parse_args()
    data_dir, bundle = options.data_dir.resolve(), options.bundle.resolve()
    try:
        serve(Address(options.host, options.port), functools.partial(make_app, data_dir, bundle))
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
