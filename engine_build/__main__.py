"""The command line: `python -m engine_build export | verify | source | build | quantize`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.command import Parser, installed_by, obey
from appliance.errors import BadInput

_INSTALL = ".venv/bin/pip install -r requirements/torch.txt -e '.[build]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; → the exit status: 0, 1 for a fault, 2 for bad input."""
    try:
        return obey(_parser(), arguments)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0][:300]
        print(f"engine_build failed ({type(error).__name__}: {first}): please report this.", file=sys.stderr)
        return 1


def _tell(options: argparse.Namespace) -> None:
    """Make what the command is to make, and say what came of it."""
    try:
        with installed_by(_INSTALL):
            result = options.make(options)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or "Stopped; nothing was written.") from None
    print(json.dumps(result, indent=2) if options.json else _text(result))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m engine_build", description="Diffusers folder → bundle.")
    parser.set_defaults(run=_tell)
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
    export.add_argument(
        "--precision",
        choices=("f32", "f16"),
        default="f32",
        help="f16 adds graphs in float16: TensorRT computes in a graph's own type",
    )
    export.add_argument(
        "--opset",
        type=int,
        choices=(18, 23),
        default=18,
        help="23 takes ONNX Runtime less memory; TensorRT needs --precision f16 beside it",
    )
    export.add_argument("--vae", type=Path, metavar="FOLDER", help="another VAE, such as an AutoencoderTiny")
    export.add_argument(
        "--lora", action="append", default=[], metavar="FILE[:SCALE]", help="merge a LoRA; repeat for more"
    )
    export.add_argument("--no-preview", action="store_true", help="do not fit the preview map")
    export.set_defaults(make=_export)
    verify = commands.add_parser("verify", help="check a bundle: hashes, headers, and that it computes")
    verify.add_argument("bundle", type=Path, metavar="BUNDLE")
    verify.set_defaults(make=_verify)
    source = commands.add_parser("source", help="write the diffusers folder of a bundle, to train or to export again")
    source.add_argument("bundle", type=Path, metavar="BUNDLE")
    source.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="its weights are links to the bundle's"
    )
    source.set_defaults(make=_source)
    build = commands.add_parser("build", help="build a bundle's plans for a GPU; needs no torch")
    _add_build(build)
    quantize = commands.add_parser("quantize", help="a bundle in int8, if its pictures hold")
    _add_quantize(quantize)
    for command in (export, verify, source, build, quantize):
        command.add_argument("--json", action="store_true", help="print the result as json")
    return parser


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", nargs="?", help="default: the box's active one")
    parser.add_argument("--target", choices=("tensorrt", "tensorrt-rtx"), required=True)
    parser.add_argument("--sm", type=_sm, help="86, 89, 120: what TensorRT for RTX builds for (this machine's GPU)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: where the engine looks, under the data dir")
    parser.add_argument("--data-dir", type=Path, help="of the box that will run the plans; holds the key")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the box's TOML file")
    parser.set_defaults(make=_build)


def _add_quantize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE", help="what the box is asked, one a line")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--format", choices=("int8", "fp8"), default="int8")
    parser.add_argument("--sm", type=_sm, help="of the GPU that will draw (this machine's)")
    parser.add_argument(
        "--optimizer",
        type=Path,
        metavar="PYTHON",
        help="of an environment with nvidia-modelopt[onnx], which quantizes then (ONNX Runtime's tools)",
    )
    parser.set_defaults(make=_quantize)


def _sm(text: str) -> str:
    """86 or 8.6 → "8.6"."""
    digits = text.replace(".", "")
    if not (digits.isdecimal() and 2 <= len(digits) <= 3):
        raise argparse.ArgumentTypeError(f"{text!r} must look like 86 (compute capability 8.6)")
    return f"{digits[:-1]}.{digits[-1]}"


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} must look like 512x512 (width x height)")
    return int(width), int(height)


def _export(options: argparse.Namespace) -> dict[str, Any]:
    import dataclasses

    from engine_build.lora import read_lora
    from engine_build.source import Source

    source = Source.open(options.folder)
    loras = tuple(read_lora(text) for text in options.lora)
    card = source.card.with_options(
        name=options.name,
        version=options.version,
        licence=options.licence,
        sizes=options.size,
        default_steps=options.steps,
        default_guidance=options.guidance,
        default_locale=options.locale,
    )
    from engine_build.bundle import Choices, export_with
    from engine_build.families import with_vae

    source = dataclasses.replace(source, card=card)
    if options.vae is not None:
        source = with_vae(source, options.vae)
    choices = Choices(options.weights, options.precision, loras, not options.no_preview, options.opset)
    return export_with(source, options.out, choices, _say)


def _verify(options: argparse.Namespace) -> dict[str, Any]:
    from engine_build.verify import verify

    if not options.bundle.is_dir():
        raise BadInput(f"There is no folder {options.bundle}: name a bundle.")
    return verify(options.bundle, _say)


def _source(options: argparse.Namespace) -> dict[str, Any]:
    from engine_build.source_folder import diffusers_folder

    if not options.bundle.is_dir():
        raise BadInput(f"There is no folder {options.bundle}: name a bundle.")
    return {"bundle": str(options.bundle), "out": str(diffusers_folder(options.bundle, options.out))}


def _build(options: argparse.Namespace) -> dict[str, Any]:
    import os
    from contextlib import nullcontext

    from appliance import config
    from appliance.pipeline.manifest import Bundle
    from appliance.plans import wanted
    from engine_build import plans
    from engine_build.targets import tensorrt, tensorrt_rtx

    os.umask(0o077)
    settings = config.load({"data_dir": options.data_dir, "bundle": options.bundle}, options.config)
    asked_for = (
        wanted.taken(settings.data_dir, options.target, options.bundle) if options.out is None else nullcontext()
    )
    with asked_for:
        bundle = Bundle.open(settings.bundle)
        target = {"tensorrt": tensorrt, "tensorrt-rtx": tensorrt_rtx}[options.target].open_target(options.sm)
        return plans.build(bundle, target, settings.data_dir, options.out, _say)


def _quantize(options: argparse.Namespace) -> dict[str, Any]:
    from appliance.pipeline.manifest import Bundle
    from appliance.plans import gpu
    from engine_build import quantize

    here = gpu.gpu()
    quantize.check_format(options.format, options.sm or (here.sm if here else None))
    prompts = quantize.read_prompts(options.prompts)
    by = options.optimizer
    quantizer = quantize.by_onnxruntime if by is None else quantize.by_model_optimizer(by)
    return quantize.quantize(Bundle.open(options.bundle), prompts, options.out.resolve(), quantizer, _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _text(result: dict[str, Any]) -> str:
    return str(result.get("out") or result["bundle"])


if __name__ == "__main__":
    sys.exit(main())
