"""Every scene told several times ahead of training, as token ids: a batch is then looked up, not spoken."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training import tokenizer
from training.corpus import captions
from training.corpus.data import Dataset
from training.run import Run

Ids = npt.NDArray[np.int16]  # a vocabulary of our own is small

_PIECE = 512


def told(run: Run, dataset: Dataset, folder: Path) -> Ids:
    """Token ids ``[N, times, L]`` of each scene's captions, kept in ``folder`` while run, scenes and words stay."""
    path = folder / f"told-{_digest(run, dataset, folder)}.npy"
    if not path.exists():
        for old in folder.glob("told-*.npy"):
            old.unlink()
        partial = path.with_suffix(".partial.npy")
        np.save(partial, _tell(run, dataset, folder), allow_pickle=False)
        os.replace(partial, path)
    ids: Ids = np.load(path, allow_pickle=False)
    return ids


def _tell(run: Run, dataset: Dataset, folder: Path) -> Ids:
    count = len(dataset.scenes)
    ids = np.empty((count, run.captions.times, run.tokenizer.length), np.int16)
    pieces = [range(start, min(start + _PIECE, count)) for start in range(0, count, _PIECE)]
    with (
        ProcessPoolExecutor(initializer=_start_telling, initargs=(run, dataset, folder / "tokenizer")) as pool,
        tqdm(total=count, desc="captions", unit="scene", mininterval=5, disable=None) as bar,
    ):
        for piece, spoken in zip(pieces, pool.map(_tell_piece, pieces), strict=True):
            ids[piece.start : piece.stop] = spoken
            bar.update(len(piece))
    return ids


_teller: tuple[Run, Dataset, Any]  # of this process


def _start_telling(run: Run, dataset: Dataset, words: Path) -> None:
    global _teller
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are many enough
    _teller = run, dataset, tokenizer.load(words)


def _tell_piece(piece: Sequence[int]) -> Ids:
    run, dataset, words = _teller
    lines = []
    for index in piece:
        rng = np.random.default_rng([run.seed, 13, index])
        scene = dataset.scenes[index]
        lines += [captions.sample(scene, run, dataset.library, rng) for _ in range(run.captions.times)]
    ids: Ids = tokenizer.encode(words, lines).numpy().astype(np.int16)
    return ids.reshape(len(piece), run.captions.times, -1)


def _digest(run: Run, dataset: Dataset, folder: Path) -> str:
    """What tells these captions from those of other scenes, settings or words."""
    digest = hashlib.sha256(repr((run.seed, run.captions, run.locales, run.tokenizer)).encode())
    digest.update(repr(dataset.scenes).encode())
    digest.update((folder / "tokenizer" / "tokenizer.json").read_bytes())
    return digest.hexdigest()[:16]
