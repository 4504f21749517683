"""`python -m benchmarks peers`: one UNet call and one whole picture beside the peers, in one run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from appliance.config import BUNDLED
from appliance.engines.onnxruntime import cores
from appliance.errors import EnsuenoError
from appliance.options import Parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark; → the exit status: 0, 1 for a fault, 2 for bad input."""
    try:
        options = _parser().parse_args(argv)
        result = _peers(options)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(result)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m benchmarks", description="Beside other people's software, measured in one run.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    peers = commands.add_parser("peers", help="diffusers, plain ONNX Runtime and OpenVINO on this CPU")
    peers.add_argument(
        "--bundle", type=Path, default=BUNDLED, help="one with a source/ folder (the one that comes along)"
    )
    peers.add_argument("--threads", type=int, default=cores(), help="for each of them (all cores)")
    peers.add_argument("--repeat", type=int, default=7, help="rounds; in each everyone has a turn (7)")
    peers.add_argument("--only", nargs="+", metavar="PEER", help="some of the peers")
    peers.add_argument("--json", action="store_true", help="answer in json")
    return parser


def _peers(options: argparse.Namespace) -> str:
    from benchmarks import peers

    result = peers.compare(options.bundle, options.threads, options.repeat, options.only)
    return json.dumps(result, ensure_ascii=False, indent=2) if options.json else peers.as_text(result)


if __name__ == "__main__":
    sys.exit(main())
