"""The command `ensueno`. Each command is one small function; bad input ends with one sentence and exit status 2."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from appliance import __version__, config, module
from appliance.command import Parser, above_zero, at_least_one, obey
from appliance.errors import BadInput, EnsuenoError
from appliance.options import add_engine_options, add_serve_options, as_arguments

if TYPE_CHECKING:
    from appliance.people.access import Access


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return obey(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="ensueno", description="A sentence becomes a picture, and nothing leaves the building.")
    parser.add_argument("--version", action="version", version=f"ensueno {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    _add_generate(commands.add_parser("generate", help="draw a picture and print its path"))
    _add_serve(commands.add_parser("serve", help="run the page, the API and the engine"))
    _add_pair(commands.add_parser("pair", help="make a PIN, or a program's token, to let somebody in"))
    _add_access(commands.add_parser("access", help="who has been let in"))
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
    parser.add_argument("--image", type=Path, metavar="FILE", help="a picture to start from (PNG, JPEG, WebP)")
    parser.add_argument("--mask", type=Path, metavar="FILE", help="where to draw anew: transparent, or white")
    parser.add_argument("--strength", type=float, help="how much of the picture is drawn anew, above 0 and up to 1")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the PNG to write")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="the model bundle (the active one)")
    add_engine_options(parser)
    parser.add_argument("--server", metavar="URL", help="ask a running box in place of drawing here")
    parser.add_argument("--token", help="what `ensueno pair --program` gave there (better in ENSUENO_TOKEN)")
    parser.add_argument("--fingerprint", help="of the box's own certificate, as it stands beside its PIN")
    parser.add_argument("--priority", help="of a box: low, normal or (its owners) high")
    parser.add_argument("--mqtt", metavar="URL", help="ask boxes that this broker reaches")
    parser.add_argument("--device", metavar="NAME", help="over the broker: this box")
    parser.add_argument("--pool", metavar="NAME", help="over the broker: any box of this pool (default)")
    parser.add_argument("--id", help="over the broker: the job's id; asked again with it, nothing is drawn twice")
    parser.add_argument("--timeout", type=above_zero, default=600.0, help="over the broker: seconds to wait (600)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="over the broker: TOML file with the certificates")
    parser.add_argument("--json", action="store_true", help="answer in json")
    parser.set_defaults(run=_generate)


_FIELDS = ("prompt", "negative", "seed", "steps", "guidance", "scheduler", "size", "count", "locale", "strength")


def _generate(options: argparse.Namespace) -> None:
    from appliance import client, generate

    fields = {name: getattr(options, name) for name in _FIELDS if getattr(options, name) is not None}
    fields |= generate.pictures({"image": options.image, "mask": options.mask})
    if options.priority is not None:
        if options.mqtt is None and options.server is None:
            raise BadInput("A priority is a place in a box's queue: leave it out, or name --server or --mqtt.")
        fields["priority"] = options.priority
    _check_doors(options)
    generate.check_out(options.out)
    if options.mqtt is not None:
        _ask_over_mqtt(fields, options)
    if options.server is not None:
        token = options.token or os.environ.get("ENSUENO_TOKEN")
        drawn = client.on_server(fields, options.server, token, options.fingerprint)
    else:
        given = {"bundle": options.bundle, "engine": options.engine, "threads": options.threads}
        drawn = generate.here(fields, config.load(given), generate.progress_bar)
    generate.report(drawn, options.prompt, options.out, options.json)


_DOORS = {  # option → the door that it is for
    "token": "server", "fingerprint": "server", "device": "mqtt", "pool": "mqtt", "id": "mqtt", "config": "mqtt",
}  # fmt: skip


def _check_doors(options: argparse.Namespace) -> None:
    """One door, and no option of another. Raises `BadInput`."""
    if options.server is not None and options.mqtt is not None:
        raise BadInput("--server and --mqtt are two ways to a box: name one of them.")
    for option, door in _DOORS.items():
        if getattr(options, option) is not None and getattr(options, door) is None:
            raise BadInput(f"--{option} goes with --{door}: name that too, or leave it out.")


def _ask_over_mqtt(fields: dict[str, Any], options: argparse.Namespace) -> NoReturn:
    """Become the requester, a program of its own: nothing in `appliance` knows `mqtt`."""
    if "image" in fields or "mask" in fields:
        raise BadInput("Over the broker a job starts from words alone: leave out --image and --mask, or use --server.")
    names = ("mqtt", "device", "pool", "id", "timeout", "json", "out", "config")
    plan = {"fields": fields} | {name: getattr(options, name) for name in names}
    command = module.command("mqtt.requester", [json.dumps(plan, default=str)])  # paths as their names
    os.execve(sys.executable, command, module.environment())  # noqa: S606


def _add_serve(parser: argparse.ArgumentParser) -> None:
    add_serve_options(parser)
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    from appliance.serve import serve

    given = {name: value for name, value in vars(options).items() if name in config.Settings.model_fields}
    serve(config.load(given, options.config), as_arguments(given, options.config), open_page=options.open)


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--guest", action="store_true", help="who dreams and sees his own pictures (else an owner)")
    parser.add_argument("--program", metavar="NAME", help="print a token for a program in place of a PIN")
    _add_which_box(parser)
    parser.set_defaults(run=_pair)


def _pair(options: argparse.Namespace) -> None:
    from appliance.people.access import Role
    from appliance.people.invitation import invitation

    access, role = _access(options), Role.GUEST if options.guest else Role.OWNER
    if options.program is not None:
        print(access.issue(role, options.program)[1])
    else:
        print(invitation(access, role, with_code=sys.stdout.isatty()))


def _add_access(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=Parser)
    listing = actions.add_parser("list", help="everybody")
    listing.set_defaults(run=_access_list)
    revoke = actions.add_parser("revoke", help="let somebody in no more")
    revoke.add_argument("id", help="as `ensueno access list` shows it")
    revoke.set_defaults(run=_access_revoke)
    password = actions.add_parser("password", help="an owner's password, from standard input; empty: none")
    password.set_defaults(run=_access_password)
    for action in (listing, revoke, password):
        _add_which_box(action)


def _access_list(options: argparse.Namespace) -> None:
    for key in _access(options).people():
        print(key.as_line())


def _access_revoke(options: argparse.Namespace) -> None:
    key = _access(options).revoke(options.id)
    print(f"{key.name} ({key.role.value}) is let in no more.")


def _access_password(options: argparse.Namespace) -> None:
    from getpass import getpass

    password = getpass("The owner's password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    _access(options).set_password(password)
    print("The password is set." if password else "There is no password any more.")


def _access(options: argparse.Namespace) -> Access:
    from appliance.people.access import Access

    return Access(_settings(options).access_path)


def _add_which_box(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path)
    _add_config(parser)


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
    add_engine_options(parser)
    parser.add_argument("--json", action="store_true", help="answer in json")
    _add_config(parser)
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> None:
    from appliance.device import doctor

    given = {name: getattr(options, name) for name in ("data_dir", "bundle", "engine", "threads")}
    settings = config.load(given, options.config)
    findings = doctor.examine(settings)
    if options.json:
        _print_json([finding.as_json() for finding in findings])
    else:
        print("\n".join(finding.as_line() for finding in findings))
    if not all(finding.good for finding in findings):
        raise EnsuenoError("Not all is well: see the lines marked ✗ above.")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path)
    add_engine_options(parser)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each measurement; the median counts (5)")
    parser.add_argument("--json", action="store_true", help="answer in json")
    _add_config(parser)
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> None:
    from appliance import bench

    given = {"bundle": options.bundle, "engine": options.engine, "threads": options.threads}
    settings = config.load(given, options.config)
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
    install = actions.add_parser("install", help="take a bundle from a folder or a .tar")
    install.add_argument("source", type=Path, metavar="FOLDER_OR_TAR")
    install.set_defaults(run=_model_install)
    activate = actions.add_parser("activate", help="draw with an installed bundle, once its pictures hold")
    activate.add_argument("name", help="as `ensueno model list` shows it; `bundled` is the one that comes along")
    activate.add_argument("--threads", type=at_least_one)
    activate.set_defaults(run=_model_activate)
    rollback = actions.add_parser("rollback", help="back to the bundle before")
    rollback.set_defaults(run=_model_rollback)
    for action in (listing, verify, install, activate, rollback):
        action.add_argument("--data-dir", type=Path)
        _add_config(action)


def _model_list(options: argparse.Namespace) -> None:
    from appliance import models

    rows = models.listed(_data_dir(options))
    _print_json(rows) if options.json else print("\n".join(models.as_line(row) for row in rows))


def _model_verify(options: argparse.Namespace) -> None:
    from appliance.pipeline.manifest import Bundle

    settings = config.load({"bundle": options.bundle, "data_dir": options.data_dir}, options.config)
    bundle = Bundle.open(settings.bundle)
    bundle.verify()
    print(f"{bundle.manifest.title} is whole: {len(bundle.manifest.files)} files.")


def _model_install(options: argparse.Namespace) -> None:
    from appliance.bundles.install import install
    from appliance.bundles.slots import Slots

    name = install(options.source, Slots(_data_dir(options)))
    print(f"{name} is installed: draw with it after `ensueno model activate {name}`.")


def _model_activate(options: argparse.Namespace) -> None:
    from appliance import models

    print(models.activate(options.name, _data_dir(options), options.threads))


def _model_rollback(options: argparse.Namespace) -> None:
    from appliance.bundles.slots import Slots

    print(f"Back to {Slots(_data_dir(options)).rollback()}.")


def _data_dir(options: argparse.Namespace) -> Path:
    return _settings(options).data_dir


def _settings(options: argparse.Namespace) -> config.Settings:
    """Of these options; the bundle is named so that a broken slot does not stand in the way of its repair."""
    return config.load({"data_dir": options.data_dir, "bundle": config.BUNDLED}, options.config)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="the box's TOML file (ENSUENO_CONFIG's)")


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    sys.exit(main())
