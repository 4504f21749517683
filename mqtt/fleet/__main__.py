"""The command `python -m mqtt.fleet`, whose subcommands are below. Bad input: one sentence, exit status 2."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.command import Parser, obey
from appliance.errors import BadInput
from mqtt.fleet import command

if TYPE_CHECKING:
    from mqtt.fleet.provision import Pki


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Each option also comes from the environment, as ENSUENO_FLEET_…"""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        return obey(_parser(), argv)
    except ModuleNotFoundError as error:
        print(
            f"This needs {error.name}: pip install -r requirements/fleet.txt, as the cloud side has it.",
            file=sys.stderr,
        )
        return BadInput.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m mqtt.fleet", description="The cloud side of many boxes.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    _add_collector(commands.add_parser("collector", help="take telemetry, keep it, write it to Prometheus"))
    _add_top(commands.add_parser("top", help="the fleet as a live table"))
    _add_simulate(commands.add_parser("simulate", help="boxes that are not there, to try all this with"))
    _add_provision(commands.add_parser("provision", help="a certificate, rights and configuration for one name"))
    ordering = commands.add_parser("command", help="an order of the owner to one box, signed, and its result")
    _add_broker(ordering)
    command.add_command(ordering)
    command.add_owner_key(commands.add_parser("owner-key", help="the owner's key, which signs commands"))
    return parser


def _default(name: str, otherwise: str | None = None) -> str | None:
    return os.environ.get(f"ENSUENO_FLEET_{name}", otherwise)


def _path(name: str) -> Path | None:
    value = _default(name)
    return None if value is None else Path(value)


def _between(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} must be a number from {least:g} to {most:g}")
        return value

    return number


def _add_broker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--broker", metavar="URL", default=_default("BROKER", "mqtt://localhost:1883"), help="mqtt:// or mqtts://"
    )
    parser.add_argument("--ca", type=Path, default=_path("CA"), metavar="FILE", help="who vouches for the broker")
    parser.add_argument("--cert", type=Path, default=_path("CERT"), metavar="FILE", help="our certificate")
    parser.add_argument("--key", type=Path, default=_path("KEY"), metavar="FILE", help="its key")


def _add_collector(parser: argparse.ArgumentParser) -> None:
    _add_broker(parser)
    parser.add_argument(
        "--prometheus", metavar="URL", default=_default("PROMETHEUS", "http://localhost:9090/api/v1/write"),
        help="where to write samples",
    )  # fmt: skip
    parser.add_argument(
        "--data-dir", type=Path, default=_path("DATA_DIR") or Path("fleet-data"), help="what must not be lost"
    )
    parser.add_argument(
        "--listen", default=_default("LISTEN", "127.0.0.1:9109"), help="HOST:PORT of /metrics and /readyz"
    )
    parser.add_argument("--name", default=_default("NAME", socket.gethostname()), help="differs for each collector")
    parser.set_defaults(run=_collector)


def _collector(options: argparse.Namespace) -> None:
    from mqtt.address import Address
    from mqtt.fleet.process import collect

    address = Address.of(options.broker, options.ca, options.cert, options.key)
    collect(address, options.prometheus, options.data_dir, options.listen, options.name)


def _add_top(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prometheus", metavar="URL", default=_default("TOP", "http://localhost:9090"))
    parser.add_argument("--every", type=_between(0.001, 1e6), default=2.0, help="seconds between two looks")
    parser.add_argument("--rows", type=int, default=40, help="devices to show, the worst first")
    parser.add_argument("--once", action="store_true", help="print the table once and end")
    parser.set_defaults(run=_top)


def _top(options: argparse.Namespace) -> None:
    from mqtt.fleet import top

    if options.rows < 1:
        raise BadInput("A table has a row or more: give --rows 1 or more.")
    top.show(options.prometheus, options.rows, None if options.once else options.every)


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    _add_broker(parser)
    parser.add_argument("--devices", type=int, default=100, help="how many")
    parser.add_argument("--connections", type=int, default=100, help="how many they share, at most 100")
    parser.add_argument(
        "--every", type=_between(0.001, 1e6), default=10.0, help="seconds between two records of one device"
    )
    parser.add_argument(
        "--rate", type=_between(0.001, 1e6), help="records in a second, all devices together (in place of --every)"
    )
    parser.add_argument("--hours", type=_between(0, 1e4), default=0.0, help="a backlog from this long ago, sent first")
    parser.add_argument("--seconds", type=_between(0, 1e9), help="how long (until stopped)")
    parser.add_argument("--seed", type=int, default=0, help="names the sessions: another seed, another life")
    parser.set_defaults(run=_simulate)


def _simulate(options: argparse.Namespace) -> None:
    from mqtt.address import Address
    from mqtt.fleet import simulate

    if options.devices < 1:
        raise BadInput("A simulation needs devices: give --devices 1 or more.")
    every = options.every if options.rate is None else options.devices / options.rate
    address = Address.of(options.broker, options.ca, options.cert, options.key)
    connect = simulate.connector(address, f"ensueno-simulate-{options.seed}")
    fleet = simulate.Fleet(simulate.devices(options.devices, options.seed), connect, connections=options.connections)
    simulate.past(fleet, options.hours, every, time.time())
    simulate.live(fleet, every, options.seconds)
    fleet.close()
    print(f"{sum(device.seq for device in fleet.devices.values())} records said, {fleet.waiting} not acknowledged")


def _add_provision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="of the device or user; with --role broker any name of it")
    parser.add_argument(
        "--role", choices=["device", "requester", "collector", "operator", "home", "broker"], default="device"
    )
    parser.add_argument(
        "--pool",
        action="append",
        help="a pool it belongs to (the common one); may be repeated",
    )
    parser.add_argument("--host", action="append", default=[], help="a broker's name or address; may be repeated")
    parser.add_argument("--pki", type=Path, default=_path("PKI") or Path("pki"), help="the authority's folder")
    parser.add_argument("--broker", metavar="URL", default="", help="what the configuration names")
    parser.add_argument("--days", type=int, default=825, help="how long the certificate is good")
    parser.add_argument("--revoke", action="store_true", help="take the certificate and the rights away")
    parser.set_defaults(run=_provision)


def _provision(options: argparse.Namespace) -> None:
    from mqtt.fleet.provision import Pki

    pki = Pki(options.pki)
    if not 1 <= options.days <= 36_500:
        raise BadInput("A certificate is good for 1 to 36,500 days: give another --days.")
    try:
        _provision_in(pki, options)
    except OSError as error:
        raise BadInput(f"{options.pki} cannot be used ({error.strerror}): choose another --pki.") from None
    print(f"A broker that runs knows of it once it has {pki.rights.parent} anew and a SIGHUP.", file=sys.stderr)


def _provision_in(pki: Pki, options: argparse.Namespace) -> None:
    from mqtt import topics

    if options.revoke:
        pki.revoke(options.name)
        print(f"{options.name} is revoked")
    elif options.role == "broker":
        print(pki.broker(options.host or [options.name]))
    else:
        pools = options.pool or [topics.POOL]
        print(pki.user(options.name, options.role, pools=pools, broker=options.broker, days=options.days))


if __name__ == "__main__":
    sys.exit(main())
