"""The command line's manner: one sentence and an exit status, no usage text and no traceback."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    except KeyboardInterrupt as stop:
        if str(stop):
            print(stop, file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    return 0


@contextmanager
def installed_by(command: str) -> Iterator[None]:
    """Around what needs libraries that `command` installs. Raises `BadInput` where one is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise BadInput(f"This needs {error.name}: install it with `{command}`.") from None


def above_zero(text: str) -> float:
    """An option's number, finite and more than 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value


def at_least_one(text: str) -> int:
    """An option's whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)
