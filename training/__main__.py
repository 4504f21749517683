"""``python -m training data | train | distill | sample | export | evaluate RUN``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from training import run as runs
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.diffusion import Load

STAGES = ("autoencoder", "diffusion", "decoder")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train a small latent diffusion model.")
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="fetch the packages and pack pictures and words")
    train = commands.add_parser("train", help="train every stage that is not finished, from its checkpoint")
    distill = commands.add_parser("distill", help="train the few-step variant from the finished model")
    sample = commands.add_parser("sample", help="draw the run's prompts on a contact sheet")
    export = commands.add_parser("export", help="write the diffusers folder")
    evaluate = commands.add_parser("evaluate", help="judge a bundle and write the report")
    for command in (data, train, distill, sample, export, evaluate):
        command.add_argument("run", help="a name in training/runs, or a TOML file")
        command.add_argument("--folder", type=Path, help="where the run is kept (default build/training/RUN)")
    for command in (train, distill, sample):
        command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    train.add_argument("--stage", choices=(*STAGES, "judge"), help="only this stage")
    for command in (train, distill):
        command.add_argument("--minutes", type=float, help="spend at most so long on each stage")
        command.add_argument("--restart", action="store_true", help="forget the stage's checkpoint")
    distill.set_defaults(stage="distill")
    for command in (sample, export):
        command.add_argument("--few", action="store_true", help="the few-step variant")
    sample.add_argument("--prompt", action="append", help="instead of the run's prompts; may be repeated")
    sample.add_argument("--steps", type=int)
    sample.add_argument("--guidance", type=float)
    sample.add_argument("--out", type=Path, help="the PNG (default samples.png in the run's folder)")
    export.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    evaluate.add_argument("--bundle", type=Path, required=True, help="the exported bundle that users get")
    evaluate.add_argument("--few", type=Path, help="a bundle distilled to four steps, to stand beside it")
    evaluate.add_argument("--out", type=Path, default=Path("docs/model"), help="a folder (default docs/model)")
    evaluate.add_argument("--count", type=int, default=100, help="how many questions of each kind (default 100)")
    evaluate.add_argument("--quick", action="store_true", help="few of everything, to see that it works")
    evaluate.add_argument(
        "--by-eye", metavar="N/64", help="only note in the report how many captions were named unread"
    )
    return parser


def data(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Fetch and pack."""
    from training.corpus import data as datasets

    dataset = datasets.make(run, folder / "data", folder.parent / "downloads")
    things = len(dataset.library.things)
    print(f"{len(dataset.scenes)} pictures of {things} things, {run.data.size} pixels a side, in {folder / 'data'}")


def train(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
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


def sample(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Draw a contact sheet."""
    from training import stages

    out = arguments.out or folder / "samples.png"
    run, load = variant(arguments, run)
    stages.draw(run, folder, arguments.device, out, arguments.prompt, arguments.steps, arguments.guidance, load=load)
    print(out)


def export(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Write the diffusers folder."""
    from training import export as exporter

    run, load = variant(arguments, run)
    exporter.write(run, folder, arguments.out, load)
    print(arguments.out)


def evaluate(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Judge a bundle."""
    from training.evaluation import evaluate as evaluator

    if arguments.by_eye is not None:
        evaluator.note_by_eye(arguments.out, arguments.by_eye)
    else:
        said = {key: getattr(arguments, key) for key in ("bundle", "few", "out", "count", "quick")}
        evaluator.evaluate(run, folder, evaluator.Options(**said, command=arguments.line))
    print(arguments.out / "report.md")


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 only on success, 2 for bad input with one sentence on standard error."""
    arguments = build_parser().parse_args(argv)
    arguments.line = shlex.join(["python", "-m", "training", *(sys.argv[1:] if argv is None else argv)])
    commands = {
        "data": data,
        "train": train,
        "distill": train,
        "sample": sample,
        "export": export,
        "evaluate": evaluate,
    }
    try:
        run = runs.load_run(arguments.run)
        commands[arguments.command](arguments, run, arguments.folder or runs.run_folder(run))
    except TrainingError as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
