"""A run so small that every stage takes a second: synthetic pictures, no network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training import data, stages
from training.captions import Entry, Words
from training.data import Dataset
from training.run import Run, parse_run

torch.set_num_threads(1)  # a second thread on so small a net only waits for its turn

THINGS = {"circle": "círculo", "square": "cuadrado", "cross": "cruz", "moon": "luna", "apple": "manzana"}


def tiny_table() -> dict[str, Any]:
    """The TOML table of the tiny run."""
    stage = {"steps": 4, "batch": 2, "rate": 1e-3, "warmup": 2, "noise": 0.05, "shift": 1}
    plain = {key: stage[key] for key in ("steps", "batch", "rate", "warmup")}
    return {
        "name": "tiny",
        "version": "1",
        "licence": "MIT",
        "seed": 7,
        "data": {"size": 32, "leave_out": ["skin tone"]},
        "locales": {
            "en": {
                "annotations": ["en"],
                "templates": ["{}", "a {}"],
                "coloured": ["{colour} {name}"],
                "examples": ["a moon"],
            },
            "es": {"annotations": ["es"], "templates": ["{}", "un {}"], "examples": ["una luna"]},
        },
        "captions": {"keyword": 0.2, "keywords": 0.2, "coloured": 0.2, "dropped": 0.1},
        "colours": [
            {"rgb": [[220, 30, 30]], "words": {"en": ["red"], "es": ["rojo"]}},
            {"rgb": [[30, 30, 220]], "words": {"en": ["blue"], "es": ["azul"]}},
        ],
        "tokenizer": {"vocabulary": 560, "length": 16},
        "text": {"width": 32, "layers": 1, "heads": 2},
        "autoencoder": {
            "encoder_width": 16,
            "decoder_width": 16,
            "encoder_blocks": [1, 1, 1, 1],
            "decoder_blocks": [1, 1, 1, 1],
            "channels": 4,
        },
        "unet": {"widths": [16, 32], "attention": [False, True], "layers": 1, "heads": 2, "groups": 8},
        "stages": {"autoencoder": dict(stage), "diffusion": plain, "decoder": {**stage, "shift": 0}},
        "sample": {"steps": 3, "guidance": 2.0, "shift": 3.0, "prompts": ["a moon"]},
    }


@pytest.fixture
def table() -> dict[str, Any]:
    return tiny_table()


@pytest.fixture(scope="session")
def run() -> Run:
    return parse_run(tiny_table())


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (len(THINGS), 32, 32, 3), dtype=np.uint8)
    entries = [
        Entry(
            f"1f{i:03x}",
            {"en": Words(en, (f"{en} thing", "shape"), ("red",)), "es": Words(es, (f"cosa {es}", "forma"), ("rojo",))},
        )
        for i, (en, es) in enumerate(THINGS.items())
    ]
    return Dataset(pictures, entries)


@pytest.fixture
def folder(run: Run, dataset: Dataset, tmp_path: Path) -> Path:
    """A run's folder with its data."""
    data.save(dataset, run, [], tmp_path / "tiny" / "data")
    return tmp_path / "tiny"


@pytest.fixture(scope="session")
def trained_once(run: Run, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "tiny"
    data.save(dataset, run, [], path / "data")
    for name in ("autoencoder", "diffusion", "decoder"):
        assert stages.train(run, name, path, "cpu")
    return path


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """A run's folder with every stage trained, the test's own."""
    return Path(shutil.copytree(trained_once, tmp_path / "tiny"))
