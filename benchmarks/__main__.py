"""`python -m benchmarks peers | options`: one UNet call and one whole picture beside others, in one run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from appliance.command import Parser
from appliance.config import BUNDLED
from appliance.engines.cpu import cores
from appliance.errors import EnsuenoError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one comparison; → the exit status: 0, 1 for a fault, 2 for bad input."""
    try:
        print(_compare(_parser().parse_args(argv)))
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m benchmarks", description="Beside other people's software, measured in one run.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    commands.add_parser("peers", help="diffusers, plain ONNX Runtime and OpenVINO on this CPU")
    commands.add_parser("options", help="ONNX Runtime with other settings than the engine's")
    commands.add_parser("networks", help="UNet call and decode alone, by everyone: for models of true size")
    for command in commands.choices.values():
        command.add_argument("--bundle", type=Path, default=BUNDLED, help="one with source/ (the one that comes along)")
        command.add_argument("--threads", type=int, default=cores(), help="for each of them (all cores)")
        command.add_argument("--repeat", type=int, default=7, help="rounds; in each everyone has a turn (7)")
        command.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some of them")
        command.add_argument("--busy", action="store_true", help="keep every core busy with other work beside them")
        command.add_argument("--json", action="store_true", help="answer in json")
    return parser


def _compare(options: argparse.Namespace) -> str:
    from benchmarks import networks, peers
    from benchmarks.player import OPTIONS, PEERS

    if options.command == "networks":
        found = networks.compare(options.bundle, options.threads, options.repeat, options.only)
        return json.dumps(found, ensure_ascii=False, indent=2) if options.json else networks.as_text(found)
    table = {"peers": PEERS, "options": OPTIONS}[options.command]
    told = peers.compare(options.bundle, options.threads, options.repeat, table, only=options.only, busy=options.busy)
    return json.dumps(told, ensure_ascii=False, indent=2) if options.json else peers.as_text(told)


if __name__ == "__main__":
    sys.exit(main())
