"""The command `ensueno`. Each command is one small function; bad input ends with one sentence and exit status 2."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from appliance import __version__, config
from appliance.errors import EnsuenoError
from appliance.options import Parser, add_serve_options, as_arguments


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        options = _parser().parse_args(argv)
        options.run(options)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="ensueno", description="A sentence becomes a picture, and nothing leaves the building.")
    parser.add_argument("--version", action="version", version=f"ensueno {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    _add_generate(commands.add_parser("generate", help="draw a picture and print its path"))
    _add_serve(commands.add_parser("serve", help="run the page, the API and the engine"))
    _add_status(commands.add_parser("status", help="how the box is"))
    _add_doctor(commands.add_parser("doctor", help="check this machine and say what to do"))
    _add_bench(commands.add_parser("bench", help="measure every stage"))
    _add_model(commands.add_parser("model", help="the model bundles"))
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help="what to draw")
    parser.add_argument("--negative", help="what to steer away from")
    parser.add_argument("--seed", type=int, help="0 to 4294967295; the same seed gives the same picture")
    parser.add_argument("--steps", type=int, help="denoise steps")
    parser.add_argument("--guidance", type=float, help="guidance_scale: how strongly the words count")
    parser.add_argument("--scheduler", help="one of the bundle's schedulers")
    parser.add_argument("--size", help="WIDTHxHEIGHT, one of the bundle's sizes")
    parser.add_argument("--count", type=int, help="how many pictures, each with the next seed")
    parser.add_argument("--locale", help="the place of the words (en, es, en-GB ...): what they mean there is drawn")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the PNG to write")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="the model bundle (the one that comes along)")
    parser.add_argument("--threads", type=int, help="CPU threads (all cores)")
    parser.add_argument("--server", metavar="URL", help="ask a running box in place of drawing here")
    parser.add_argument("--json", action="store_true", help="answer in json")
    parser.set_defaults(run=_generate)


_FIELDS = ("prompt", "negative", "seed", "steps", "guidance", "scheduler", "size", "count", "locale")


def _generate(options: argparse.Namespace) -> None:
    from appliance import client, generate

    fields = {name: getattr(options, name) for name in _FIELDS if getattr(options, name) is not None}
    if options.server:
        drawn = client.on_server(fields, options.server)
    else:
        settings = config.load({"bundle": options.bundle, "threads": options.threads})
        drawn = generate.here(fields, settings.bundle, settings.threads, generate.progress_bar)
    paths = generate.save(drawn, options.prompt, options.out)
    if drawn.truncated and not options.json:
        print(f"The model read only the beginning; truncated: {drawn.truncated}", file=sys.stderr)
    if options.json:
        pictures = [{"path": str(path), "seed": seed} for path, seed in zip(paths, drawn.seeds, strict=True)]
        _print_json({"images": pictures, "engine": drawn.engine, "truncated": drawn.truncated})
    else:
        print(*paths, sep="\n")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    add_serve_options(parser)
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.set_defaults(run=_serve)


_SERVE = ("host", "port", "data_dir", "bundle", "threads")


def _serve(options: argparse.Namespace) -> None:
    from appliance.serve import serve

    given = {name: getattr(options, name) for name in _SERVE}
    serve(config.load(given, options.config), as_arguments(given, options.config), open_page=options.open)


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", action="store_true", help="answer in json")
    _add_config(parser)
    parser.set_defaults(run=_status)


def _status(options: argparse.Namespace) -> None:
    from appliance import status

    told = status.status(config.load({"data_dir": options.data_dir}, options.config))
    _print_json(told) if options.json else print(status.as_text(told))


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--json", action="store_true", help="answer in json")
    _add_config(parser)
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> None:
    from appliance import doctor

    settings = config.load({"data_dir": options.data_dir, "bundle": options.bundle}, options.config)
    findings = doctor.examine(settings)
    if options.json:
        _print_json([finding.__dict__ for finding in findings])
    else:
        print("\n".join(finding.as_line() for finding in findings))
    if not all(finding.good for finding in findings):
        raise EnsuenoError("Not all is well: see the lines marked ✗ above.")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each measurement; the median counts (5)")
    parser.add_argument("--json", action="store_true", help="answer in json")
    _add_config(parser)
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> None:
    from appliance import bench

    settings = config.load({"bundle": options.bundle, "threads": options.threads}, options.config)
    figures = bench.bench(settings, options.repeat)
    _print_json(figures) if options.json else print(bench.as_text(figures))


def _add_model(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=Parser)
    listing = actions.add_parser("list", help="the bundles at hand")
    listing.add_argument("--json", action="store_true", help="answer in json")
    listing.set_defaults(run=_model_list)
    verify = actions.add_parser("verify", help="check every file of a bundle")
    verify.add_argument("bundle", type=Path, nargs="?")
    verify.set_defaults(run=_model_verify)


def _model_list(options: argparse.Namespace) -> None:
    from appliance.pipeline.manifest import MANIFEST, Bundle

    bundles = [Bundle.open(path.parent) for path in sorted(config.MODELS.glob(f"*/{MANIFEST}"))]
    rows = [
        {
            "name": bundle.manifest.name,
            "version": bundle.manifest.version,
            "licence": bundle.manifest.licence,
            "sizes": bundle.manifest.sizes,
            "folder": str(bundle.folder),
        }
        for bundle in bundles
    ]
    if options.json:
        _print_json(rows)
    else:
        print("\n".join(f"{row['name']} {row['version']}  {row['folder']}" for row in rows))


def _model_verify(options: argparse.Namespace) -> None:
    from appliance.pipeline.manifest import Bundle

    bundle = Bundle.open(config.load({"bundle": options.bundle}).bundle)
    bundle.verify()
    print(f"{bundle.manifest.title} is whole: {len(bundle.manifest.files)} files.")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="the box's TOML file")


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    sys.exit(main())
