"""Pictures follow from scenes: the same every time, with everything where the scene says it is."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.stage_hands import Scenes
from training.corpus import paint
from training.corpus.library import Library, Pixels
from training.corpus.paint import Painter, Spot
from training.corpus.scenes import EXTRAS, PLACES, Director, Part, Scene
from training.run import Run

HUES = st.integers(0, 359)


@pytest.fixture(scope="module")
def painter(run: Run, library: Library) -> Painter:
    return Painter(run, library)


def one(library: Library, thing: str, **fields: str) -> Part:
    return Part(thing, library.things[thing].pictures[:1], **fields)


def test_every_scene_is_painted_the_same_again(
    run: Run, library: Library, director: Director, painter: Painter
) -> None:
    again = Painter(run, library)
    for index in reversed(range(director.count)):
        made = painter.paint(director.scene(index), index)
        assert made.dtype == np.uint8
        assert made.shape == (32, 32, 3)
        assert np.array_equal(made, again.paint(director.scene(index), index))


@settings(max_examples=60)
@given(st.data(), st.integers(0, 2**31))
def test_any_scene_can_be_painted(any_scene: Scenes, painter: Painter, data: st.DataObject, index: int) -> None:
    made = painter.paint(data.draw(any_scene), index)
    assert made.dtype == np.uint8
    assert made.shape == (32, 32, 3)
    assert made.min() < made.max()


def test_painting_leaves_the_library_as_it_is(library: Library, director: Director, painter: Painter) -> None:
    before = library.pictures.copy()
    for index in range(0, director.count, 7):
        painter.paint(director.scene(index), index)
    assert np.array_equal(library.pictures, before)


def test_a_thing_alone_stands_on_white_or_on_the_colour_asked_for(library: Library, painter: Painter) -> None:
    apple = one(library, "1f34e")
    assert tuple(painter.paint(Scene((apple,)), 1)[0, 0]) == (255, 255, 255)
    assert tuple(painter.paint(Scene((apple,), backdrop="blue"), 1)[0, 0]) == (30, 60, 220)


def test_places_do_not_look_like_one_another(library: Library, painter: Painter) -> None:
    made = [painter.paint(Scene((one(library, "1f34e"),), place=place), 3) for place in PLACES]
    for i, left in enumerate(made):
        for right in made[:i]:
            assert np.abs(left.astype(int) - right.astype(int)).mean() > 2


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_a_face_wears_is_seen(library: Library, painter: Painter, extra: str) -> None:
    bare, dressed = (
        painter.paint(Scene((part,)), 5) for part in (one(library, "1f436"), one(library, "1f436", extra=extra))
    )
    assert not np.array_equal(bare, dressed)


def test_more_of_a_thing_covers_more_of_the_picture(library: Library, painter: Painter) -> None:
    row = library.things["1f34e"].bodies[0]
    inked = [(painter.paint(Scene((Part("1f34e", (row,) * n),)), 9) < 200).any(-1).sum() for n in (2, 4)]
    assert inked[0] < inked[1]


def middle(places: Sequence[Spot]) -> tuple[float, float]:
    return float(np.mean([spot.x for spot in places])), float(np.mean([spot.y for spot in places]))


@given(st.sampled_from(["left", "on", "under", "over", "before"]), st.integers(1, 3), st.integers(0, 999))
def test_things_stand_to_each_other_as_told(relation: str, count: int, seed: int) -> None:
    scene = Scene((Part("a", (0,) * count), Part("b", (1,))), relation)
    first, second = paint.spots(scene, np.random.default_rng(seed))
    assert len(first) == count
    (x, y), (other_x, other_y) = middle(first), middle(second)
    if relation == "left":
        assert x < other_x
    else:
        assert (y < other_y) == (relation in ("on", "over"))


@given(st.integers(1, 4), st.sampled_from([None, *PLACES]), st.integers(0, 999))
def test_every_one_of_many_has_a_spot_of_its_own(count: int, place: str | None, seed: int) -> None:
    (found,) = paint.spots(Scene((Part("a", (0,) * count),), place=place), np.random.default_rng(seed))
    assert len({(round(spot.x, 1), round(spot.y, 1)) for spot in found}) == len(found) == count
    assert all(0 < spot.x < 1 and 0 < spot.y < 1 and spot.size > 0.2 for spot in found)


def hue(rgb: Sequence[int]) -> float:
    return 360 * colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb))[0]


def square(rgb: Sequence[int]) -> Pixels:
    """A square of one colour, half transparent at its edge, around it nothing."""
    pixels = np.zeros((12, 12, 4), np.uint8)
    pixels[2:10, 2:10] = (*rgb, 100)
    pixels[3:9, 3:9] = (*rgb, 255)
    return pixels


def of_hue(degrees: int) -> tuple[int, int, int]:
    red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(degrees / 360, 0.85, 0.9))
    return red, green, blue


@given(HUES, HUES)
def test_a_recoloured_thing_keeps_its_outline_and_has_the_new_hue(before: int, after: int) -> None:
    pixels = square(of_hue(before))
    made = paint.recoloured(pixels, of_hue(after))
    assert made.shape == pixels.shape
    assert np.array_equal(made[..., 3], pixels[..., 3])
    away = abs((hue(made[6, 6, :3].tolist()) - after + 180) % 360 - 180)
    assert away < 6


@given(st.integers(0, 255), HUES)
def test_what_has_no_colour_of_its_own_is_not_recoloured(grey: int, after: int) -> None:
    pixels = square((grey, grey, grey))
    assert np.array_equal(paint.recoloured(pixels, of_hue(after)), pixels)


@given(st.integers(0, 11), st.integers(0, 11))
def test_only_the_main_colour_changes(row: int, column: int) -> None:
    pixels = square((220, 30, 30))
    pixels[row, column] = (30, 60, 220, 255)
    made = paint.recoloured(pixels, (40, 160, 60))
    assert np.abs(made[row, column].astype(int) - (30, 60, 220, 255)).max() <= 3
