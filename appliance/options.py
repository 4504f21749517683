"""The command line's manner: one sentence and exit status 2 for bad input, and the options all processes share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from appliance.errors import BadInput


class Parser(argparse.ArgumentParser):
    """argparse that raises `BadInput` with one sentence in place of a usage text."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message[:1].upper()}{message[1:]}: see `{self.prog} --help`.")


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """The settings of a box, by the same names as in the TOML file and the environment."""
    parser.add_argument("--host", help="address to serve on (127.0.0.1; 0.0.0.0 for the whole network)")
    parser.add_argument("--port", type=int, help="port of the page and the API (8080)")
    parser.add_argument("--data-dir", type=Path, help="where all that is kept lies (~/.local/share/ensueno)")
    parser.add_argument("--bundle", type=Path, help="folder of the model bundle (the one that comes with Ensueño)")
    parser.add_argument("--threads", type=int, help="CPU threads of the engine (all cores)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the same names")


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
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
