"""The data of a run: packages fetched by npm, a library of things, and the scenes painted from it.

``scenes.npy`` is uint8 ``[N, size, size, 3]`` (sRGB), ``scenes.jsonl`` what each shows, one a line, in the same order.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from tqdm import tqdm

from training.corpus import FOLDER, library, scenes
from training.corpus.library import Library, Pixels
from training.corpus.paint import Painter
from training.corpus.scenes import Director, Scene
from training.corpus.wordnet import WordNet
from training.errors import TrainingError
from training.run import Run, read_toml


@dataclass(frozen=True)
class Source:
    """One row of ``sources.toml``."""

    use: str
    npm: str
    version: str
    integrity: str
    licence: str
    author: str
    url: str

    @property
    def filename(self) -> str:
        """The name under which ``npm pack`` writes the package."""
        return f"{self.npm.lstrip('@').replace('/', '-')}-{self.version}.tgz"


@dataclass(frozen=True)
class Dataset:
    """Painted scenes in one order, and the library that they are made of."""

    pictures: Pixels  # [N, size, size, 3], mapped from the disk
    scenes: list[Scene]
    library: Library


def load_sources(path: Path = FOLDER / "sources.toml") -> list[Source]:
    """The table of packages that the data is made of."""
    try:
        return [Source(**row) for row in read_toml(path)["source"]]
    except (KeyError, TypeError) as error:
        raise TrainingError(f"{path} is not a table of sources: {error}.") from error


def check_integrity(path: Path, integrity: str) -> None:
    """Refuse a package whose sha512 is not the one written in the table (Subresource Integrity form)."""
    digest = "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode("ascii")
    if digest != integrity:
        raise TrainingError(f"{path} is not the package that sources.toml names: its {digest[:24]}… differs.")


def fetch(source: Source, folder: Path) -> Path:
    """The package's archive in ``folder``, fetched by npm when it is not there, its integrity checked."""
    path = folder / source.filename
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", f"{source.npm}@{source.version}"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise TrainingError("npm is needed to fetch the training data and is not installed.") from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["npm gave no reason"])[-1]
            raise TrainingError(f"npm could not fetch {source.npm}@{source.version}: {reason}.") from error
    check_integrity(path, source.integrity)
    return path


def make(run: Run, folder: Path, downloads: Path) -> Dataset:
    """Fetch, build the library, paint every scene."""
    sources = load_sources()
    archives = {source: fetch(source, downloads) for source in sources}
    of = {use: [path for source, path in archives.items() if source.use == use] for use in ("pictures", "words")}
    wordnet = WordNet(next(path for source, path in archives.items() if source.use == "synonyms"))
    (folder / "scenes.npy").unlink(missing_ok=True)  # the old ones do not go with a new library
    library.save(library.build(run, of["pictures"], of["words"], wordnet), folder)
    paint(run, folder)
    return load(run, folder)


def paint(run: Run, folder: Path) -> None:
    """Paint every scene of the run from the library in ``folder``, on every core."""
    director = Director(run, library.load(folder))
    count, size = director.count, run.data.size
    partial = folder / "scenes.partial.npy"
    pictures = open_memmap(partial, "w+", np.uint8, (count, size, size, 3))
    pieces = [range(start, min(start + 64, count)) for start in range(0, count, 64)]
    with (
        ProcessPoolExecutor(initializer=_start_painting, initargs=(run, folder)) as pool,
        tqdm(total=count, desc="scenes", unit="scene", mininterval=5, disable=None) as bar,
    ):
        for piece, painted in zip(pieces, pool.map(_paint_piece, pieces), strict=True):
            pictures[piece.start : piece.stop] = painted
            bar.update(len(piece))
    pictures.flush()
    lines = (json.dumps(scenes.to_json(director.scene(index)), ensure_ascii=False) for index in range(count))
    (folder / "scenes.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")
    os.replace(partial, folder / "scenes.npy")


_stage: tuple[Director, Painter]  # of this process, so that the library is read once


def _start_painting(run: Run, folder: Path) -> None:
    global _stage
    things = library.load(folder)
    _stage = Director(run, things), Painter(run, things)


def _paint_piece(piece: Sequence[int]) -> Pixels:
    director, painter = _stage
    return np.stack([painter.paint(director.scene(index), index) for index in piece])


def load(run: Run, folder: Path) -> Dataset:
    """Read what ``make`` wrote, and refuse data of another size or of other locales."""
    things = library.load(folder)
    try:
        pictures = np.load(folder / "scenes.npy", mmap_mode="r", allow_pickle=False)
        lines = (folder / "scenes.jsonl").read_text("utf-8").splitlines()
        shown = [scenes.from_json(json.loads(line)) for line in lines]
    except FileNotFoundError as error:
        raise TrainingError(f"There is no data in {folder}: run 'python -m training data {run.name}' first.") from error
    except (EOFError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"The data in {folder} is damaged: {error}.") from error
    spoken = next(iter(things.things.values())).words
    if pictures.shape[1] != run.data.size or list(spoken) != list(run.locales) or len(shown) != len(pictures):
        raise TrainingError(f"The data in {folder} was made for another size or other locales: make it again.")
    return Dataset(pictures, shown, things)
