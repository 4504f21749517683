"""Plans that are asked for are built, and a build that fails is not begun for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import BadBundle
from appliance.plans.passport import Target, engines_folder
from appliance.plans.wanted import TRIES, WANTED, Wanted, ask, take, taken, wanted


@pytest.fixture
def plans(tmp_path: Path) -> Wanted:
    return Wanted(target="tensorrt", bundle=tmp_path / "tiny", made_of={"tensorrt": "10.3", "driver": None})


def fail(data_dir: Path) -> None:
    with pytest.raises(BadBundle), taken(data_dir, "tensorrt", None):
        raise BadBundle("It is not for this target.")


def test_what_is_asked_for_is_seen_until_it_is_taken(tmp_path: Path, plans: Wanted) -> None:
    assert wanted(tmp_path) is None
    assert ask(tmp_path, plans)
    assert wanted(tmp_path) == plans
    with taken(tmp_path, "tensorrt", plans.bundle):
        assert wanted(tmp_path) is None


def test_what_comes_to_nothing_is_given_up_and_another_is_asked_for_anew(tmp_path: Path, plans: Wanted) -> None:
    for _ in range(TRIES):
        assert ask(tmp_path, plans)
        with taken(tmp_path, "tensorrt", plans.bundle):
            pass  # built, but no engine takes it: it is asked for again
    assert not ask(tmp_path, plans)
    assert wanted(tmp_path) is None
    assert ask(tmp_path, plans.model_copy(update={"made_of": {"tensorrt": "10.4", "driver": None}}))


def test_a_build_that_fails_is_a_try(tmp_path: Path, plans: Wanted) -> None:
    for _ in range(TRIES):
        assert ask(tmp_path, plans)
        fail(tmp_path)
    assert not ask(tmp_path, plans)


def test_a_build_that_is_stopped_counts_against_nothing(tmp_path: Path, plans: Wanted) -> None:
    for _ in range(TRIES + 1):
        assert ask(tmp_path, plans)
        with pytest.raises(KeyboardInterrupt), taken(tmp_path, "tensorrt", plans.bundle):
            raise KeyboardInterrupt


def test_a_build_that_is_killed_is_a_try_and_one_that_lost_its_power_is_none(tmp_path: Path, plans: Wanted) -> None:
    for boot in ("monday", "tuesday", "wednesday", "thursday"):
        assert ask(tmp_path, plans, lambda boot=boot: boot)  # type: ignore[misc]
        take(tmp_path, lambda boot=boot: boot)  # type: ignore[misc]
    for _ in range(TRIES - 1):
        assert ask(tmp_path, plans, lambda: "thursday")
        take(tmp_path, lambda: "thursday")
    assert not ask(tmp_path, plans, lambda: "thursday")


def test_asking_again_before_anybody_built_is_one_try(tmp_path: Path, plans: Wanted) -> None:
    for _ in range(TRIES + 1):
        assert ask(tmp_path, plans)


def test_a_build_by_hand_takes_nothing_where_nothing_was_asked_for(tmp_path: Path) -> None:
    fail(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("target", "bundle"), [("tensorrt", "other"), ("tensorrt-rtx", "tiny")])
def test_a_build_by_hand_of_something_else_leaves_what_was_asked_for(
    target: Target, bundle: str, tmp_path: Path, plans: Wanted
) -> None:
    for _ in range(TRIES + 1):
        assert ask(tmp_path, plans)
        with pytest.raises(BadBundle), taken(tmp_path, target, tmp_path / bundle):
            raise BadBundle("It cannot be built.")
        assert wanted(tmp_path) == plans


def test_a_build_by_hand_of_something_else_counts_for_nothing_that_was_taken(tmp_path: Path, plans: Wanted) -> None:
    ask(tmp_path, plans)
    take(tmp_path)
    with taken(tmp_path, "tensorrt", tmp_path / "other"):
        pass
    assert ask(tmp_path, plans)
    assert wanted(tmp_path) == plans.model_copy(update={"tries": 1})  # that one ended without a word


def test_the_boxs_own_build_takes_what_was_asked_for_of_whatever_bundle(tmp_path: Path, plans: Wanted) -> None:
    ask(tmp_path, plans)
    with taken(tmp_path, "tensorrt", None):
        assert wanted(tmp_path) is None


def test_a_damaged_wish_is_none_and_goes(tmp_path: Path, plans: Wanted) -> None:
    ask(tmp_path, plans)
    (engines_folder(tmp_path) / WANTED).write_text("half a wi")
    assert wanted(tmp_path) is None
    take(tmp_path)
    assert not (engines_folder(tmp_path) / WANTED).exists()


def test_a_folder_that_takes_nothing_costs_only_the_wish(tmp_path: Path, plans: Wanted) -> None:
    (tmp_path / "engines").write_text("a file where the folder should be")
    assert not ask(tmp_path, plans)
