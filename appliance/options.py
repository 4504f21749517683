"""The options that all processes of a box share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from appliance.command import Parser
from appliance.config import EngineName


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """The settings of a box, by the same names as in the TOML file and the environment."""
    parser.add_argument("--host", help="address to serve on (127.0.0.1; 0.0.0.0 for the whole network)")
    parser.add_argument("--port", type=int, help="port of the page and the API (8080)")
    parser.add_argument("--name", help="what the network calls it: NAME.local (ensueno)")
    parser.add_argument("--hosts", metavar="NAMES", help="more names that lead to the box, with commas")
    parser.add_argument("--tls", action="store_true", default=None, help="serve https, with a certificate of its own")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve https with this certificate (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key (PEM)")
    parser.add_argument("--data-dir", type=Path, help="where all that is kept lies (~/.local/share/ensueno)")
    parser.add_argument("--bundle", type=Path, help="folder of the model bundle (the active one)")
    add_engine_options(parser)
    parser.add_argument("--keep-mib", type=int, metavar="MIB", help="pictures kept; above it the oldest go (all)")
    parser.add_argument("--keep-days", type=float, metavar="DAYS", help="days that a picture is kept (for ever)")
    parser.add_argument("--prompt-filter", metavar="LIST", help="words it does not draw: `children`, or a file (none)")
    parser.add_argument(
        "--picture-check", metavar="SWITCH", help="on: blur what the bundle's safety checker finds (off)"
    )
    parser.add_argument("--mqtt", metavar="URL", help="broker to take jobs from, mqtt://… or mqtts://…")
    parser.add_argument("--mqtt-device", metavar="NAME", help="this box's name in topics (the host's name)")
    parser.add_argument("--mqtt-pool", metavar="NAME", help="pool whose jobs it shares (default)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the same names (ENSUENO_CONFIG's)")


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """What draws, wherever something is drawn."""
    parser.add_argument("--engine", metavar="NAME", help=f"{', '.join(get_args(EngineName))} (the best that passes)")
    parser.add_argument("--threads", type=int, help="CPU threads of the engine (all cores)")


def serve_options(prog: str, argv: list[str]) -> tuple[dict[str, Any], Path | None]:
    """Parse them alone: (options for `config.load`, the configuration file)."""
    parser = Parser(prog=prog)
    add_serve_options(parser)
    options = vars(parser.parse_args(argv))
    return options, options.pop("config")


def as_arguments(options: dict[str, Any], config: Path | None) -> list[str]:
    """The same options as a command line, for a child process."""
    given = {**options, "config": config}
    return [
        text
        for name, value in given.items()
        if value is not None
        for text in (f"--{name.replace('_', '-')}", *(() if value is True else (str(value),)))
    ]
