"""The data builder, on packages made here: no network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training import world
from tests.training.world import Packages
from training.corpus import data
from training.corpus.data import Dataset, Source
from training.corpus.paint import Painter
from training.corpus.scenes import Director, Scene
from training.errors import TrainingError
from training.run import Run


def make(run: Run, folder: Path, packages: Packages, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(data, "load_sources", lambda: packages.sources)
    return data.make(run, folder, packages.pictures.parent)


def test_every_scene_is_painted_in_its_order(run: Run, dataset: Dataset, director: Director) -> None:
    assert dataset.pictures.shape == (director.count, 32, 32, 3)
    assert dataset.pictures.dtype == np.uint8
    assert dataset.scenes == [director.scene(index) for index in range(director.count)]
    painter = Painter(run, dataset.library)
    for index in (0, 63, 64, 65, director.count - 1):
        assert np.array_equal(dataset.pictures[index], painter.paint(dataset.scenes[index], index))


def test_the_same_packages_give_the_same_bytes(run: Run, folder: Path, made_once: Path) -> None:
    for name in ("scenes.npy", "scenes.jsonl"):
        (folder / "data" / name).unlink()
    data.paint(run, folder / "data")
    for path in made_once.iterdir():
        assert path.read_bytes() == (folder / "data" / path.name).read_bytes(), path.name


def test_half_painted_data_is_no_data(
    run: Run, folder: Path, packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(self: Painter, scene: Scene, index: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Painter, "paint", break_off)
    with pytest.raises(KeyboardInterrupt):
        make(run, folder / "data", packages, monkeypatch)
    with pytest.raises(TrainingError, match="There is no data"):
        data.load(run, folder / "data")


def test_a_package_that_is_not_the_one_named_makes_no_data(
    run: Run, packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [replace(source, integrity="sha512-AAAA") for source in packages.sources]
    monkeypatch.setattr(data, "load_sources", lambda: changed)
    with pytest.raises(TrainingError, match="not the package"):
        data.make(run, tmp_path / "data", packages.pictures.parent)
    assert not (tmp_path / "data").exists()


def source(**changes: str) -> Source:
    fields = {"use": "words", "npm": "@scope/thing", "version": "1.0.0", "integrity": "", "licence": "MIT"}
    return Source(**{**fields, "author": "", "url": "", **changes})


def test_a_package_already_fetched_is_only_checked(tmp_path: Path) -> None:
    path = world.archive(tmp_path / "scope-thing-1.0.0.tgz", {"x": b"y"})
    assert data.fetch(source(integrity=world.integrity(path)), tmp_path) == path
    with pytest.raises(TrainingError, match="not the package"):
        data.fetch(source(integrity="sha512-AAAA"), tmp_path)


def test_without_npm_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrainingError, match="npm is needed"):
        data.fetch(source(), tmp_path)


def test_what_npm_says_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error 404 not found' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrainingError, match="404 not found"):
        data.fetch(source(), tmp_path)


def test_what_npm_packs_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = world.archive(tmp_path / "packed.tgz", {"x": b"y"})
    npm = tmp_path / "npm"
    npm.write_text(
        f"#!/bin/sh\n[ \"$*\" = 'pack --silent @scope/thing@1.0.0' ] && exec /bin/cp {path} scope-thing-1.0.0.tgz\n"
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert data.fetch(source(integrity=world.integrity(path)), tmp_path / "new").read_bytes() == path.read_bytes()


def test_the_real_table_names_licence_and_hash_of_every_source() -> None:
    sources = data.load_sources()
    assert {s.use for s in sources} == {"pictures", "words", "synonyms"}
    assert all(s.licence and s.url and s.integrity.startswith("sha512-") for s in sources)


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text("[[source]]\nuse = 'words'\n")
    with pytest.raises(TrainingError, match="sources"):
        data.load_sources(tmp_path / "sources.toml")


def test_missing_data_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="python -m training data"):
        data.load(run, tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("scenes.npy", b"nonsense"), ("scenes.npy", b""), ("scenes.jsonl", b"{"), ("scenes.jsonl", b"{}\n")],
)
def test_damaged_data_is_said(run: Run, folder: Path, name: str, content: bytes) -> None:
    (folder / "data" / name).write_bytes(content)
    with pytest.raises(TrainingError, match="damaged"):
        data.load(run, folder / "data")


def test_data_of_another_run_is_refused(run: Run, folder: Path) -> None:
    fewer = dict(list(run.locales.items())[:2])
    for other in (replace(run, data=replace(run.data, size=64)), replace(run, locales=fewer)):
        with pytest.raises(TrainingError, match="another size or other locales"):
            data.load(other, folder / "data")


def test_a_scene_without_its_picture_is_refused(run: Run, folder: Path) -> None:
    with (folder / "data" / "scenes.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"parts": [{"thing": "1f34e", "pictures": [0]}]}\n')
    with pytest.raises(TrainingError, match="make it again"):
        data.load(run, folder / "data")
