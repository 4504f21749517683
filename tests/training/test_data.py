"""The data builder, on packages made here: no network."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training import data
from training.data import Source
from training.errors import TrainingError
from training.run import Run


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def picture(colour: tuple[int, int, int, int]) -> bytes:
    """A disc's worth of colour in the middle of a transparent (and falsely green) square."""
    image = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    image.paste(colour, (16, 16, 48, 48))
    stream = io.BytesIO()
    image.save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def annotation_file(kind: str, table: dict[str, Any]) -> bytes:
    return json.dumps({kind: {"annotations": table}}).encode()


def said(name: str, *keywords: str) -> dict[str, Any]:
    return {"tts": [name], "default": list(keywords)}


@pytest.fixture
def packages(tmp_path: Path) -> tuple[Path, Path, Path]:
    pictures = archive(
        tmp_path / "pictures.tgz",
        {
            "assets/2764-fe0f.webp": picture((220, 30, 30, 255)),
            "assets/2764.webp": picture((30, 30, 220, 255)),
            "assets/1f535.webp": picture((30, 30, 220, 255)),
            "assets/1f44d-1f3fb.webp": picture((220, 180, 150, 255)),
            "assets/1f999.webp": picture((1, 2, 3, 255)),
            "assets/2764-fe0f-200d-1f525.webp": picture((200, 200, 40, 255)),
            "assets/1f3f4-e0067_e0062.webp": picture((0, 0, 0, 255)),
            "README.md": b"not a picture",
        },
    )
    english = {"❤": said("red heart", "love"), "🔵": said("blue circle"), "👍🏻": said("thumbs up: light skin tone")}
    words = archive(
        tmp_path / "words.tgz",
        {
            "annotations/en/annotations.json": annotation_file("annotations", english),
            "annotations/es/annotations.json": annotation_file(
                "annotations", {"❤": said("corazón rojo"), "🔵": said("círculo azul"), "👍🏻": said("pulgar")}
            ),
        },
    )
    burning = "❤\u200d🔥"
    derived = archive(
        tmp_path / "derived.tgz",
        {
            f"annotationsDerived/{locale}/annotations.json": annotation_file(
                "annotationsDerived", {burning: said(name)}
            )
            for locale, name in (("en", "heart on fire"), ("es", "corazón en llamas"))
        },
    )
    return pictures, words, derived


def test_pictures_are_named_sized_and_counted_once(run: Run, packages: tuple[Path, Path, Path]) -> None:
    pictures, words, derived = packages
    built = data.build(run, [pictures], [words, derived])
    assert [entry.words["en"].name for entry in built.entries] == ["blue circle", "heart on fire", "red heart"]
    assert [entry.words["es"].name for entry in built.entries] == ["círculo azul", "corazón en llamas", "corazón rojo"]
    assert built.pictures.shape == (3, 32, 32, 3)
    assert built.pictures.dtype == np.uint8
    assert tuple(built.pictures[0, 0, 0]) == (255, 255, 255), "transparent is white, whatever colour hides in it"
    assert built.entries[0].words["en"].colours == ("blue",)
    assert built.entries[0].words["es"].colours == ("azul",)


def test_what_is_saved_is_loaded(run: Run, packages: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pictures, words, derived = packages
    built = data.build(run, [pictures], [words, derived])
    data.save(built, run, data.load_sources(), tmp_path / "data")
    loaded = data.load(run, tmp_path / "data")
    assert np.array_equal(loaded.pictures, built.pictures)
    assert loaded.entries == built.entries


def test_the_same_packages_give_the_same_bytes(run: Run, packages: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pictures, words, derived = packages
    for name in ("one", "two"):
        data.save(data.build(run, [pictures], [words, derived]), run, [], tmp_path / name)
    for file in ("pictures.npy", "captions.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_locale_that_no_package_knows_is_named(run: Run, packages: tuple[Path, Path, Path]) -> None:
    with pytest.raises(TrainingError, match="'en'"):
        data.build(run, [packages[0]], [packages[0]])


def test_only_nameless_pictures_are_an_error(run: Run, packages: tuple[Path, Path, Path], tmp_path: Path) -> None:
    none = archive(tmp_path / "none.tgz", {"assets/1f999.webp": picture((1, 2, 3, 255))})
    with pytest.raises(TrainingError, match="No picture"):
        data.build(run, [none], packages[1:])


def integrity(path: Path) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def source(**changes: str) -> Source:
    fields = {"use": "words", "npm": "@scope/thing", "version": "1.0.0", "integrity": "", "licence": "MIT"}
    return Source(**{**fields, "author": "", "url": "", **changes})


def test_a_package_already_fetched_is_only_checked(packages: tuple[Path, Path, Path]) -> None:
    path = packages[0].rename(packages[0].with_name("scope-thing-1.0.0.tgz"))
    assert data.fetch(source(integrity=integrity(path)), path.parent) == path
    with pytest.raises(TrainingError, match="not the package"):
        data.fetch(source(integrity="sha512-AAAA"), path.parent)


def test_without_npm_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrainingError, match="npm is needed"):
        data.fetch(source(), tmp_path)


def test_what_npm_says_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise subprocess.CalledProcessError(1, "npm", stderr="npm error 404 not found\n")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(TrainingError, match="404"):
        data.fetch(source(), tmp_path)


def test_the_real_table_names_licence_and_hash_of_every_source() -> None:
    sources = data.load_sources()
    assert {s.use for s in sources} == {"pictures", "words"}
    assert all(s.licence and s.url and s.integrity.startswith("sha512-") for s in sources)


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text("[[source]]\nuse = 'words'\n")
    with pytest.raises(TrainingError, match="sources"):
        data.load_sources(tmp_path / "sources.toml")


@pytest.mark.parametrize(
    ("stem", "character"),
    [("1f436", "🐶"), ("2764-fe0f", "❤"), ("1f3f4-e0067_e0062", None), ("readme", None), ("", None)],
)
def test_file_names_are_code_points(stem: str, character: str | None) -> None:
    assert data.character_of(stem) == character


def test_a_damaged_picture_is_named(run: Run, packages: tuple[Path, Path, Path], tmp_path: Path) -> None:
    broken = archive(tmp_path / "broken.tgz", {"assets/2764.webp": b"no picture"})
    with pytest.raises(TrainingError, match=r"2764\.webp"):
        data.build(run, [broken], packages[1:])


def test_damaged_data_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pictures.npy").write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="damaged"):
        data.load(run, tmp_path)
