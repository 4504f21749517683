"""The command line: `python -m engine_build export | verify`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from appliance.errors import BadInput, EnsuenoError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; → the exit status: 0, 1 for a fault, 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        result = options.run(options)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except ModuleNotFoundError as error:
        print(
            f"This needs {error.name}: install the build extra (pip install -e '.[build]').",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0][:300]
        print(
            f"engine_build failed ({type(error).__name__}: {first}): please report this.",
            file=sys.stderr,
        )
        return 1
    print(json.dumps(result, indent=2) if options.json else _text(result))
    return 0


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message}: see `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m engine_build", description="Diffusers folder → bundle.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    export = commands.add_parser("export", help="make a bundle from a diffusers folder")
    export.add_argument("folder", type=Path, metavar="FOLDER")
    export.add_argument("--out", type=Path, required=True, metavar="BUNDLE")
    export.add_argument("--name", help="default: ensueno.json's, else the folder's")
    export.add_argument("--version")
    export.add_argument("--licence")
    export.add_argument("--size", action="append", type=_size, default=[], metavar="WxH", help="repeat for more")
    export.add_argument("--steps", type=int, help="default number of steps")
    export.add_argument("--guidance", type=float, help="default guidance")
    export.add_argument("--locale", help="default locale of prompts")
    export.add_argument("--weights", choices=("float16", "float32"), default="float16", help="how they are stored")
    export.add_argument("--no-preview", action="store_true", help="do not fit the preview map")
    export.set_defaults(run=_export)
    verify = commands.add_parser("verify", help="check a bundle: hashes, headers, and that it computes")
    verify.add_argument("bundle", type=Path, metavar="BUNDLE")
    verify.set_defaults(run=_verify)
    for command in (export, verify):
        command.add_argument("--json", action="store_true", help="print the result as json")
    return parser


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} must look like 512x512 (width x height)")
    return int(width), int(height)


def _export(options: argparse.Namespace) -> dict[str, Any]:
    import dataclasses

    from engine_build.source import Source

    source = Source.open(options.folder)
    card = source.card.with_options(
        name=options.name,
        version=options.version,
        licence=options.licence,
        sizes=options.size,
        default_steps=options.steps,
        default_guidance=options.guidance,
        default_locale=options.locale,
    )
    from engine_build.bundle import export

    source = dataclasses.replace(source, card=card)
    return export(source, options.out, options.weights, _say, preview=not options.no_preview)


def _verify(options: argparse.Namespace) -> dict[str, Any]:
    from engine_build.verify import verify

    if not options.bundle.is_dir():
        raise BadInput(f"There is no folder {options.bundle}: name a bundle.")
    return verify(options.bundle, _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _text(result: dict[str, Any]) -> str:
    return str(result["bundle"])


if __name__ == "__main__":
    sys.exit(main())
