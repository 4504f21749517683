"""The subcommands `command` and `owner-key`: their options, and what they print."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from appliance.errors import BadInput, EnsuenoError

LONGEST = 24 * 3600.0  # seconds that a box lets a command wait


def add_command(parser: argparse.ArgumentParser) -> None:
    """What `command` takes besides the broker."""
    key = os.environ.get("ENSUENO_FLEET_OWNER_KEY")
    parser.add_argument("box", help="which box")
    parser.add_argument("name", help="activate, rollback, limits, restart_engine or diagnostics")
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="bundle=…, or limits as steps=20 (0: none)")
    parser.add_argument(
        "--owner-key", type=Path, default=None if key is None else Path(key), metavar="FILE",
        help="the private key that owner-key made",
    )  # fmt: skip
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds to wait for the result")
    parser.add_argument("--json", action="store_true", help="the result as json")
    parser.set_defaults(run=_command)


def add_owner_key(parser: argparse.ArgumentParser) -> None:
    """What `owner-key` takes."""
    parser.add_argument("file", type=Path, help="where the private key goes; the public one lies beside it as FILE.pub")
    parser.set_defaults(run=_owner_key)


def _owner_key(options: argparse.Namespace) -> None:
    from mqtt.signing import new_key

    print(new_key(options.file))


def _command(options: argparse.Namespace) -> None:
    from mqtt.address import Address
    from mqtt.fleet import owner

    if options.owner_key is None:
        raise BadInput("A command wants the owner's key: give --owner-key (owner-key FILE makes one).")
    if not 1 <= options.timeout <= LONGEST:
        raise BadInput("A command waits from one second to a day: give --timeout 1 to 86400.")
    address = Address.of(options.broker, options.ca, options.cert, options.key)
    order = (options.box, options.name, owner.arguments_of(options.arguments))
    result = owner.give(address, order, options.owner_key, options.timeout)
    if options.json:
        print(result.as_bytes().decode())
    if not result.done:
        raise EnsuenoError(result.detail)
    if not options.json:
        print("\n".join([result.detail, *(f"{name} {value}" for name, value in result.facts.items())]))
