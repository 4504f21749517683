"""`python -m torture kills|crashes|cuts|full|clocks|soak --folder F …`; exit status 0: the verdict is as it should be.

The same command on the same folder goes on where it was; a `--careless` run, the negative control, must be found out.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from appliance.config import BUNDLED
from appliance.errors import EnsuenoError
from torture import clocks, crashes, cuts, full, kills, soak
from torture.box import Plot
from torture.bundle import hollow
from torture.checker import Verdict
from torture.conclusion import conclude


def parser() -> argparse.ArgumentParser:
    """All the commands and their options."""
    main = argparse.ArgumentParser("python -m torture", description=__doc__, allow_abbrev=False)
    commands = main.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--folder", type=Path, required=True, help="history, data and verdict.json are kept here")
    shared.add_argument("--seed", type=int, default=1)
    shared.add_argument("--jobs", type=int, default=100, help="jobs to be accepted")
    shared.add_argument("--bundle", type=Path, default=BUNDLED, help="the model whose words and limits are used")
    shared.add_argument("--careless", action="store_true", help="the negative control: durability switched off")
    told = commands.add_parser("kills", parents=[shared], help="kill -9 of web and engine")
    told.add_argument("--kills", type=int, default=20)
    told.add_argument("--real", action="store_true", help="with the bundle's own networks (default: the faulty engine)")
    told = commands.add_parser(
        "crashes", parents=[shared], help="engines that crash, hang, draw NaN, run out of memory"
    )
    told.add_argument("--crashes", type=int, default=20)
    told = commands.add_parser("cuts", parents=[shared], help="power cuts, by replay of a recorded write log")
    told.add_argument("--cuts", type=int, default=20)
    told = commands.add_parser("full", parents=[shared], help="a disk that is filled and freed")
    told.add_argument("--cycles", type=int, default=5)
    told = commands.add_parser("clocks", parents=[shared], help="a clock that jumps to 1970 and years on and back")
    told.add_argument("--jumps", type=int, default=20)
    told = commands.add_parser("soak", parents=[shared], help="a served box with the real model, watched for long")
    told.add_argument("--minutes", type=float, default=20)
    return main


def torment(options: argparse.Namespace) -> Verdict:
    """Run the command that was chosen."""
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    if options.command == "soak":
        return soak.torment(folder, options.bundle, options.seed, options.minutes)
    real = getattr(options, "real", False)
    bundle = options.bundle if real else hollow(folder / "bundle", options.bundle)
    plot = Plot(bundle, options.careless, real)
    if options.command == "crashes":
        return crashes.torment(folder, plot, options.seed, options.crashes, options.jobs)
    if options.command == "cuts":
        return cuts.torment(folder, plot, options.seed, options.cuts, options.jobs)
    if options.command == "clocks":
        return clocks.torment(folder, plot, options.seed, options.jumps, options.jobs)
    if options.command == "full":
        full_plot = replace(plot, reserve_mib=full.RESERVE_MIB)
        return full.torment(folder, full_plot, options.seed, options.cycles, options.jobs)
    return kills.torment(folder, plot, options.seed, options.kills, options.jobs)


def main(arguments: list[str]) -> int:
    """Torment, tell, keep the verdict; the exit status."""
    options = parser().parse_args(arguments)
    try:
        verdict = torment(options)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return conclude(verdict, arguments, options.folder, options.careless)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
