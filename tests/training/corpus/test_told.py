"""Scenes are told ahead of training, once, and as they would be told one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training import diffusion, tokenizer
from training.corpus import captions, told
from training.corpus.data import Dataset
from training.run import Run


def test_each_scene_is_told_as_often_as_the_run_says(run: Run, trained: Path, dataset: Dataset) -> None:
    ids = told.told(run, dataset, trained)
    assert ids.shape == (len(dataset.scenes), run.captions.times, run.tokenizer.length)
    rng = np.random.default_rng([run.seed, 13, 5])
    lines = [captions.sample(dataset.scenes[5], run, dataset.library, rng) for _ in range(run.captions.times)]
    words = tokenizer.load(trained / "tokenizer")
    assert np.array_equal(ids[5], tokenizer.encode(words, lines).numpy())


def test_what_is_told_is_kept_while_run_and_scenes_stay(run: Run, trained: Path, dataset: Dataset) -> None:
    def kept() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in trained.glob("told-*")}

    told.told(run, dataset, trained)
    before = kept()
    assert len(before) == 1
    told.told(run, dataset, trained)
    assert kept() == before
    other = replace(run, captions=replace(run.captions, times=2))
    assert told.told(other, dataset, trained).shape[1] == 2
    assert len(kept()) == 1, "those of other settings are gone"
    assert kept() != before


def test_a_step_is_given_a_caption_of_the_very_scene_that_it_sees(run: Run, trained: Path, dataset: Dataset) -> None:
    sayings = diffusion.Sayings(run, dataset, trained, "diffusion", torch.device("cpu"))
    ids = told.told(run, dataset, trained)
    chosen, given = sayings.of(step=3, batch=8)
    for scene, line in zip(chosen, given, strict=True):
        assert any(np.array_equal(line.numpy(), one) for one in ids[scene])
