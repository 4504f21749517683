"""``python -m training data | train | sample | score | export RUN``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training import run as runs
from training.errors import TrainingError

STAGES = ("autoencoder", "diffusion", "decoder")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train a small latent diffusion model.")
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="fetch the packages and pack pictures and words")
    train = commands.add_parser("train", help="train every stage that is not finished, from its checkpoint")
    sample = commands.add_parser("sample", help="draw the run's prompts on a contact sheet")
    score = commands.add_parser("score", help="say how often a name draws the picture that bears it")
    export = commands.add_parser("export", help="write the diffusers folder")
    for command in (data, train, sample, score, export):
        command.add_argument("run", help="a name in training/runs, or a TOML file")
        command.add_argument("--folder", type=Path, help="where the run is kept (default build/training/RUN)")
    for command in (train, sample, score):
        command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    train.add_argument("--stage", choices=STAGES, help="only this stage")
    train.add_argument("--minutes", type=float, help="spend at most so long on each stage")
    train.add_argument("--restart", action="store_true", help="forget the stage's checkpoint")
    sample.add_argument("--prompt", action="append", help="instead of the run's prompts; may be repeated")
    for command in (sample, score):
        command.add_argument("--steps", type=int)
        command.add_argument("--guidance", type=float)
    sample.add_argument("--out", type=Path, help="the PNG (default samples.png in the run's folder)")
    score.add_argument("--locale", help="whose names (default the run's first)")
    score.add_argument("--count", type=int, default=128, help="how many names")
    export.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    return parser


def data(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Fetch and pack."""
    from training import data as datasets

    dataset = datasets.make(run, folder / "data", folder.parent / "downloads")
    print(f"{len(dataset.pictures)} pictures of {run.data.size} pixels in {folder / 'data'}")


def train(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Train the stages in order; a stop leaves a checkpoint and ends with status 1."""
    from training import stages

    for name in [arguments.stage] if arguments.stage else STAGES:
        done = stages.train(run, name, folder, arguments.device, minutes=arguments.minutes, restart=arguments.restart)
        if not done:
            raise SystemExit("Stopped; the same command goes on from the checkpoint.")


def sample(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Draw a contact sheet."""
    from training import stages

    out = arguments.out or folder / "samples.png"
    stages.draw(run, folder, arguments.device, out, arguments.prompt, arguments.steps, arguments.guidance)
    print(out)


def score(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Print the shares of names that draw their own picture."""
    from training import stages

    made = stages.judge(
        run, folder, arguments.device, arguments.locale, arguments.count, arguments.steps, arguments.guidance
    )
    print(f"nearest {made.first:.3f}, among the five nearest {made.among_five:.3f}, of {made.count} names")


def export(arguments: argparse.Namespace, run: runs.Run, folder: Path) -> None:
    """Write the diffusers folder."""
    from training import export as exporter

    exporter.write(run, folder, arguments.out)
    print(arguments.out)


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 only on success, 2 for bad input with one sentence on standard error."""
    arguments = build_parser().parse_args(argv)
    commands = {"data": data, "train": train, "sample": sample, "score": score, "export": export}
    try:
        run = runs.load_run(arguments.run)
        commands[arguments.command](arguments, run, arguments.folder or runs.run_folder(run))
    except TrainingError as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
