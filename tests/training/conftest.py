"""A run so small that every stage takes a second: pictures, words and packages made here, no network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import stage_hands, world
from tests.training.stage_hands import Scenes
from tests.training.world import TONES, Packages
from training import stages
from training.corpus import data
from training.corpus.data import Dataset
from training.corpus.library import Library
from training.corpus.scenes import Director
from training.run import Run, parse_run

torch.set_num_threads(1)  # a second thread on so small a net only waits for its turn


def tiny_table() -> dict[str, Any]:
    """The TOML table of the tiny run."""
    plain = {"steps": 4, "batch": 2, "rate": 1e-3, "warmup": 2}
    return {
        "name": "tiny",
        "version": "1",
        "licence": "MIT",
        "seed": 7,
        "tones": list(TONES),
        "data": {"size": 32, "leave_out": ["skin tone"], "strangers": 3},
        "locales": {
            "en": {"annotations": ["en"], "language": "en", "tag": "en-us", "examples": ["a red apple"]},
            "en-GB": {"annotations": ["en", "en-001"], "language": "en", "tag": "en-gb", "examples": ["a football"]},
            "es": {"annotations": ["es"], "language": "es", "tag": "es-es", "examples": ["una manzana"]},
            "es-419": {"annotations": ["es", "es-419"], "language": "es", "tag": "es-419"},
        },
        "captions": {"stranger": 0.1},
        "scenes": {
            "singles": 2,
            "composed": 64,
            "actors": ["dog", "automobile", "person", "red apple", "soccer ball"],
            "supports": ["mountain", "automobile"],
            "canopies": ["cloud", "evergreen tree"],
            "fliers": ["honeybee", "cloud"],
            "faces": ["dog face"],
        },
        "colours": {
            "red": {"rgb": [[220, 30, 30]]},
            "green": {"rgb": [[40, 160, 60]]},
            "blue": {"rgb": [[30, 60, 220]]},
            "yellow": {"rgb": [[240, 210, 40]]},
            "white": {"rgb": [[250, 250, 250]]},
        },
        "people": [{"id": "1f9d1", "pictures": ["1f9d1", "1f468"], "bodies": ["1f9cd"]}],
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
        "stages": {
            "autoencoder": {**plain, "noise": 0.05, "shift": 1},
            "diffusion": plain,
            "decoder": {**plain, "noise": 0.05},
            "judge": {**plain, "batch": 4},
            "distill": {**plain, "batch": 8},
        },
        "sample": {"steps": 3, "guidance": 2.0, "shift": 3.0, "prompts": ["en-us: a red apple"]},
    }


@pytest.fixture
def table() -> dict[str, Any]:
    return tiny_table()


@pytest.fixture(scope="session")
def run() -> Run:
    return parse_run(tiny_table())


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Read them only."""
    return world.make_packages(tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="session")
def made_once(run: Run, packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data's folder as `data.make` leaves it: read it only."""
    folder = tmp_path_factory.mktemp("made") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load_sources", lambda: packages.sources)
        data.make(run, folder, packages.pictures.parent)
    return folder


@pytest.fixture(scope="session")
def dataset(run: Run, made_once: Path) -> Dataset:
    return data.load(run, made_once)


@pytest.fixture(scope="session")
def library(dataset: Dataset) -> Library:
    return dataset.library


@pytest.fixture(scope="session")
def director(run: Run, library: Library) -> Director:
    return Director(run, library)


@pytest.fixture(scope="session")
def any_scene(run: Run, library: Library) -> Scenes:
    """Scenes for property tests."""
    return stage_hands.scenes(run, library)


@pytest.fixture
def folder(made_once: Path, tmp_path: Path) -> Path:
    """A run's folder with its data."""
    shutil.copytree(made_once, tmp_path / "tiny" / "data")
    return tmp_path / "tiny"


@pytest.fixture(scope="session")
def trained_once(run: Run, made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it only."""
    path = tmp_path_factory.mktemp("trained") / "tiny"
    shutil.copytree(made_once, path / "data")
    for name in ("autoencoder", "diffusion", "decoder"):
        assert stages.train(run, name, path, "cpu")
    return path


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """A run's folder with every stage trained, the test's own."""
    return Path(shutil.copytree(trained_once, tmp_path / "tiny"))
