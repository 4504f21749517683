"""``python -m training data | train | distill | sample | export | evaluate RUN``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.command import Parser, above_zero, at_least_one, installed_by, obey
from training import run as runs

if TYPE_CHECKING:
    from training.diffusion import Load

_INSTALL = ".venv/bin/pip install -r requirements/torch.txt -e '.[train]'"
STAGES = ("autoencoder", "diffusion", "decoder")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="python -m training", description="Train a small latent diffusion model.")
    parser.set_defaults(run=_of_a_run)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data = commands.add_parser("data", help="fetch the packages and pack pictures and words")
    train = commands.add_parser("train", help="train every stage that is not finished, from its checkpoint")
    distill = commands.add_parser("distill", help="train the few-step variant from the finished model")
    sample = commands.add_parser("sample", help="draw the run's prompts on a contact sheet")
    export = commands.add_parser("export", help="write the diffusers folder")
    evaluate = commands.add_parser("evaluate", help="judge a bundle and write the report")
    for command in (data, train, distill, sample, export, evaluate):
        command.add_argument("name", metavar="RUN", help="a name in training/runs, or a TOML file")
        command.add_argument("--folder", type=Path, help="where the run is kept (default build/training/RUN)")
    for command in (train, distill, sample):
        command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    train.add_argument("--stage", choices=(*STAGES, "judge"), help="only this stage")
    for command in (train, distill):
        command.add_argument("--minutes", type=above_zero, help="spend at most so long on each stage")
        command.add_argument("--restart", action="store_true", help="forget the stage's checkpoint")
    distill.set_defaults(carry_out=teach, stage="distill")
    for command in (sample, export):
        command.add_argument("--few", action="store_true", help="the few-step variant")
    sample.add_argument("--prompt", action="append", help="instead of the run's prompts; may be repeated")
    sample.add_argument("--steps", type=at_least_one)
    sample.add_argument("--guidance", type=float)
    sample.add_argument("--out", type=Path, help="the PNG (default samples.png in the run's folder)")
    export.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    evaluate.add_argument("--bundle", type=Path, required=True, help="the exported bundle that users get")
    evaluate.add_argument("--few", type=Path, help="a bundle distilled to four steps, to stand beside it")
    evaluate.add_argument("--out", type=Path, default=Path("docs/model"), help="a folder (default docs/model)")
    evaluate.add_argument("--count", type=at_least_one, default=100, help="questions of each kind (default 100)")
    evaluate.add_argument("--quick", action="store_true", help="few of everything, to see that it works")
    evaluate.add_argument(
        "--by-eye", metavar="N/64", help="only note in the report how many captions were named unread"
    )
    for command, carry_out in ((data, fetch), (train, teach), (sample, draw), (export, write), (evaluate, judge)):
        command.set_defaults(carry_out=carry_out)
    return parser


def fetch(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Fetch and pack."""
    from training.corpus import data as datasets

    dataset = datasets.make(run, folder / "data", folder.parent / "downloads")
    things = len(dataset.library.things)
    print(f"{len(dataset.scenes)} pictures of {things} things, {run.data.size} pixels a side, in {folder / 'data'}")


def teach(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Train the stages in order; a stop leaves a checkpoint and ends with status 1."""
    from training import stages

    for name in [arguments.stage] if arguments.stage else STAGES:
        done = stages.train(run, name, folder, arguments.device, minutes=arguments.minutes, restart=arguments.restart)
        if not done:
            raise SystemExit("Stopped; the same command goes on from the checkpoint.")


def variant(arguments: argparse.Namespace, run: runs.Run) -> tuple[runs.Run, Load]:
    """The model that ``--few`` chooses: how it is drawn, and where its weights are."""
    from training import diffusion, distill

    return (distill.variant(run), distill.trained) if arguments.few else (run, diffusion.trained)


def draw(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Draw a contact sheet."""
    from training import stages

    out = arguments.out or folder / "samples.png"
    run, load = variant(arguments, run)
    stages.draw(run, folder, arguments.device, out, arguments.prompt, arguments.steps, arguments.guidance, load=load)
    print(out)


def write(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Write the diffusers folder."""
    from training import export as exporter

    run, load = variant(arguments, run)
    exporter.write(run, folder, arguments.out, load)
    print(arguments.out)


def judge(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Judge a bundle."""
    from training.evaluation import evaluate as evaluator

    if arguments.by_eye is not None:
        evaluator.note_by_eye(arguments.out, arguments.by_eye)
    else:
        said = {key: getattr(arguments, key) for key in ("bundle", "few", "out", "count", "quick")}
        evaluator.evaluate(run, folder, evaluator.Options(**said, command=arguments.line))
    print(arguments.out / "report.md")


def _of_a_run(arguments: argparse.Namespace) -> None:
    with installed_by(_INSTALL):
        run = runs.load_run(arguments.name)
        arguments.carry_out(arguments, run, arguments.folder or runs.run_folder(run))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 only on success, 2 for bad input with one sentence on standard error."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):  # read when they are imported; their advice is for others
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    parser = build_parser()
    parser.set_defaults(line=shlex.join(["python", "-m", "training", *(sys.argv[1:] if argv is None else argv)]))
    return obey(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
