"""The command line's manner: one sentence and an exit status, no usage text and no traceback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from appliance.errors import BadInput, EnsuenoError


class Parser(argparse.ArgumentParser):
    """argparse that raises `BadInput` with one sentence in place of a usage text."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message[:1].upper()}{message[1:]}: see `{self.prog} --help`.")


def obey(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse, then `run` what the command set (`set_defaults(run=…)`); returns the exit status."""
    try:
        options = parser.parse_args(argv)
        options.run(options)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    return 0
