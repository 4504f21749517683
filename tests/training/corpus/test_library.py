"""The things that can be drawn: pictures by code point, words in every locale, people in every skin tone."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.training import world
from tests.training.world import BLUE, RED, TONES, Packages, picture
from training.corpus import library as libraries
from training.corpus.library import Library
from training.corpus.wordnet import WordNet
from training.errors import TrainingError
from training.run import ColourSettings, PersonSettings, Run

COLOURS = {"red": ColourSettings(((220, 30, 30),)), "blue": ColourSettings(((30, 30, 220),))}
STEMS = st.lists(st.integers(0x20, 0xFFFFF).map("{:x}".format), min_size=1, max_size=4).map("-".join)


def build(run: Run, packages: Packages) -> Library:
    return libraries.build(run, [packages.pictures], packages.words, WordNet(packages.wordnet))


@pytest.mark.parametrize(
    ("stem", "character"),
    [
        ("1f436", "🐶"),
        ("2764-fe0f", "❤"),
        ("1f3f4-e0067_e0062", None),
        ("readme", None),
        ("facade", None),
        ("", None),
    ],
)
def test_file_names_are_code_points(stem: str, character: str | None) -> None:
    assert libraries.character_of(stem) == character


@given(st.one_of(STEMS, st.text(max_size=12)))
def test_any_file_name_is_a_character_or_nothing(stem: str) -> None:
    character = libraries.character_of(stem)
    assert character is None or "\ufe0f" not in character


@pytest.mark.parametrize(
    ("stem", "toned"),
    [
        ("1f9d1", "1f9d1-1f3fb"),
        ("1f9d1-200d-1f373", "1f9d1-1f3fb-200d-1f373"),
        ("1f575-fe0f", "1f575-1f3fb"),
        ("1f575-fe0f-200d-2640-fe0f", "1f575-1f3fb-200d-2640-fe0f"),
    ],
)
def test_a_skin_tone_stands_behind_the_first_character(stem: str, toned: str) -> None:
    assert libraries.with_tone(stem, "1f3fb") == toned


@given(STEMS, st.sampled_from(TONES))
def test_a_skin_tone_changes_nothing_else(stem: str, tone: str) -> None:
    bare, toned = (libraries.character_of(name) for name in (stem, libraries.with_tone(stem, tone)))
    assert toned is not None
    assert bare is not None
    if not stem.startswith("fe0f"):
        assert toned[0] + toned[2:] == bare
        assert toned[1] == chr(int(tone, 16))


def test_transparent_pixels_do_not_bleed_in() -> None:
    small = libraries.shrink(Image.open(io.BytesIO(picture(RED))), 16)
    assert small.shape == (16, 16, 4)
    seen = small[small[..., 3] > 16]
    assert (seen[:, 0] > 190).all()
    assert (seen[:, 1] < 60).all(), "the hidden green stays hidden"


@pytest.mark.parametrize(("paint", "colour"), [(RED, "red"), (BLUE, "blue"), ((255, 0, 0, 0), None)])
def test_a_picture_has_the_colour_of_most_of_it(paint: tuple[int, int, int, int], colour: str | None) -> None:
    pixels = np.full((4, 4, 4), paint, np.uint8)
    assert libraries.colour_of(pixels, COLOURS) == colour
    assert libraries.colour_of(pixels, {}) is None


def test_a_picture_of_many_colours_has_none() -> None:
    many = {str(i): ColourSettings(((60 * i, 0, 0),)) for i in range(4)}
    pixels = np.full((4, 4, 4), 255, np.uint8)
    pixels[..., :3] = [[[60 * i, 0, 0]] * 4 for i in range(4)]
    assert libraries.colour_of(pixels, many) is None


def test_the_first_picture_of_a_character_wins(tmp_path: Path) -> None:
    first = world.archive(tmp_path / "a.tgz", {"2764-fe0f.webp": picture(RED), "2764.webp": picture(BLUE)})
    second = world.archive(tmp_path / "b.tgz", {"2764.webp": picture(BLUE), "1f535.webp": picture(BLUE)})
    found = libraries.read_pictures([first, second], 32)
    assert list(found) == ["2764-fe0f", "1f535"]
    assert libraries.colour_of(found["2764-fe0f"], COLOURS) == "red"


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    broken = world.archive(tmp_path / "broken.tgz", {"assets/2764.webp": b"no picture"})
    with pytest.raises(TrainingError, match=r"2764\.webp"):
        libraries.read_pictures([broken], 32)


def test_things_have_words_in_every_locale(library: Library, run: Run) -> None:
    ball = library.things["26bd"].words
    assert list(ball) == list(run.locales)
    assert [spoken.name for spoken in ball.values()] == [
        "soccer ball",
        "football",
        "balón de fútbol",
        "pelota de fútbol",
    ]
    car = library.things["1f697"]
    assert car.words["en"].short == ("car",)
    assert car.words["en"].synonyms == ("auto", "motorcar")
    assert car.words["es-419"].local == ("carro", "auto")
    assert car.is_local
    assert not library.things["1f34e"].is_local
    assert library.things["1f34e"].colour == "red"
    assert library.things["2764-fe0f-200d-1f525"].words["es"].name == "corazón en llamas"
    assert "1f999" not in library.things, "what has no name is not drawn"


def test_what_is_left_out_is_drawn_only_as_a_person(library: Library) -> None:
    assert not any("skin tone" in thing.words["en"].name for thing in library.things.values())
    person = library.things["1f9d1"]
    assert [library.stems[row] for row in person.pictures] == [f"{s}-{t}" for s in ("1f9d1", "1f468") for t in TONES]
    assert [library.stems[row] for row in person.bodies] == [f"1f9cd-{t}" for t in TONES]
    assert person.colour is None


def test_strangers_are_nouns_that_mean_nothing_here(library: Library, run: Run) -> None:
    known = {part for t in library.things.values() for w in t.words.values() for word in w.all for part in word.split()}
    assert len(library.strangers) == run.data.strangers
    assert not known & set(library.strangers)


def test_things_are_found_by_their_first_name(library: Library) -> None:
    assert [thing.id for thing in library.named(["dog", "red apple", "dog"])] == ["1f415", "1f34e", "1f415"]
    with pytest.raises(TrainingError, match="named 'griffin'"):
        library.named(["dog", "griffin"])


def test_what_is_saved_is_loaded(library: Library, tmp_path: Path) -> None:
    libraries.save(library, tmp_path)
    loaded = libraries.load(tmp_path)
    assert np.array_equal(loaded.pictures, library.pictures)
    assert replace(loaded, pictures=library.pictures) == library


def test_the_same_packages_give_the_same_bytes(run: Run, packages: Packages, made_once: Path, tmp_path: Path) -> None:
    libraries.save(build(run, packages), tmp_path)
    for file in ("things.npy", "things.json"):
        assert (tmp_path / file).read_bytes() == (made_once / file).read_bytes()


def test_only_nameless_pictures_are_an_error(run: Run, packages: Packages) -> None:
    with pytest.raises(TrainingError, match="No picture"):
        build(replace(run, data=replace(run.data, leave_out=("",))), packages)


def test_a_person_in_a_tone_that_was_never_drawn_is_named(run: Run, packages: Packages) -> None:
    with pytest.raises(TrainingError, match="1f9d1-1f3fd"):
        build(replace(run, tones=("1f3fd",)), packages)


def test_a_person_without_a_picture_is_named(run: Run, packages: Packages) -> None:
    stranger = PersonSettings("1f9d9", ("1f9d1",))
    with pytest.raises(TrainingError, match="1f9d9 has no picture"):
        build(replace(run, people=(*run.people, stranger)), packages)


def test_people_without_tones_are_drawn_as_they_are(run: Run, packages: Packages) -> None:
    built = build(replace(run, tones=(), people=(PersonSettings("1f9d1", ("1f9d1", "1f415")),)), packages)
    assert [built.stems[row] for row in built.things["1f9d1"].bodies] == ["1f9d1", "1f415"]


@pytest.mark.parametrize("text", ["nonsense", "{}", '{"things": [{}]}', "[]"])
def test_damaged_things_are_said(library: Library, text: str, tmp_path: Path) -> None:
    libraries.save(library, tmp_path)
    (tmp_path / "things.json").write_text(text)
    with pytest.raises(TrainingError, match="damaged"):
        libraries.load(tmp_path)


@pytest.mark.parametrize("content", [b"nonsense", b""])
def test_damaged_pictures_are_said(library: Library, content: bytes, tmp_path: Path) -> None:
    libraries.save(library, tmp_path)
    (tmp_path / "things.npy").write_bytes(content)
    with pytest.raises(TrainingError, match="damaged"):
        libraries.load(tmp_path)
