"""Scenes are made up at random from the run's seed, and never one that cannot be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.stage_hands import Scenes
from training.corpus import scenes
from training.corpus.library import Library
from training.corpus.scenes import Director, Scene
from training.errors import TrainingError
from training.run import Run


@pytest.fixture(scope="module")
def shown(director: Director) -> list[Scene]:
    return [director.scene(index) for index in range(director.count)]


@given(st.data())
def test_the_packed_form_comes_back_whole(any_scene: Scenes, data: st.DataObject) -> None:
    scene = data.draw(any_scene)
    assert scenes.from_json(json.loads(json.dumps(scenes.to_json(scene)))) == scene


def test_a_number_is_always_the_same_scene(run: Run, library: Library, shown: list[Scene]) -> None:
    again = Director(run, library)
    assert [again.scene(index) for index in reversed(range(again.count))] == shown[::-1]
    other = Director(replace(run, seed=run.seed + 1), library)
    assert [other.scene(index) for index in range(other.count)] != shown


def test_everything_is_shown_alone_first_as_it_is(run: Run, library: Library, director: Director) -> None:
    once = len(director.everything)
    first = [director.scene(index) for index in range(once)]
    assert {scene.parts[0].thing for scene in first} == set(library.things)
    assert all(scene == Scene(scene.parts) and scene.parts[0].colour is None for scene in first)
    assert director.count == once * run.scenes.singles + run.scenes.composed


def test_things_with_a_word_of_the_place_are_shown_three_times_as_often(library: Library, director: Director) -> None:
    shown = [thing.id for thing in director.everything]
    for thing in library.things.values():
        assert shown.count(thing.id) == (3 if thing.is_local else 1)


def test_later_scenes_hold_more_than_one_thing_on_white(director: Director, shown: list[Scene]) -> None:
    composed = shown[-director.run.scenes.composed :]
    assert all(scene.composed for scene in composed)
    assert not any(scene.composed for scene in shown[: -len(composed)])


def test_every_kind_of_scene_comes_up(shown: list[Scene]) -> None:
    assert {scene.relation for scene in shown} == {None, *scenes.RELATIONS}
    assert {scene.parts[0].count for scene in shown} == {1, 2, 3, 4}
    assert len({scene.place for scene in shown}) > len(scenes.PLACES) // 2
    assert any(scene.backdrop for scene in shown)
    assert any(scene.parts[0].colour for scene in shown)


def test_each_plays_the_part_that_the_run_gives_it(director: Director, shown: list[Scene]) -> None:
    actors, supports, canopies, fliers, faces = (
        {thing.id for thing in group}
        for group in (director.actors, director.supports, director.canopies, director.fliers, director.faces)
    )
    for scene in shown:
        if scene.relation is not None:
            first, second = (part.thing for part in scene.parts)
            assert first != second
            assert first in (fliers if scene.relation == "over" else actors)
            assert second in {"on": supports, "under": canopies}.get(scene.relation, actors)
        elif scene.composed:
            assert scene.parts[0].thing in actors
        if scene.parts[0].extra is not None:
            assert scene.parts[0].thing in faces


def test_nothing_is_painted_in_its_own_colour(library: Library, shown: list[Scene]) -> None:
    painted = [part for scene in shown for part in scene.parts if part.colour is not None]
    assert painted
    for part in painted:
        assert scenes.can_be_painted(library.things[part.thing])
        assert part.colour != library.things[part.thing].colour


def test_people_stand_in_scenes_from_head_to_foot(library: Library, shown: list[Scene]) -> None:
    person = library.things["1f9d1"]
    rows = [
        row
        for scene in shown
        if scene.composed
        for part in scene.parts
        if part.thing == "1f9d1"
        for row in part.pictures
    ]
    assert set(rows) == set(person.bodies)


def test_an_actor_that_nothing_is_called_is_named(run: Run, library: Library) -> None:
    with pytest.raises(TrainingError, match="'griffin'"):
        Director(replace(run, scenes=replace(run.scenes, fliers=("griffin",))), library)
