"""Only one may hold a lock, and what is in the way is said in a sentence."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from appliance import durable
from appliance.errors import BadInput, NoRoom, Unavailable
from appliance.lock import only_one


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "data" / "engine.lock"
    with (
        only_one(path, "Another engine"),
        pytest.raises(Unavailable, match="Another engine already works on"),
        only_one(path, "Another engine"),
    ):
        pass
    with only_one(path, "Another engine"):
        pass


def test_a_folder_made_for_it_is_its_owners_alone(tmp_path: Path) -> None:
    with only_one(tmp_path / "data" / "x.lock", "It"):
        assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_a_place_where_nothing_can_be_kept_is_a_sentence() -> None:
    with pytest.raises(BadInput, match="choose another --data-dir"), only_one(Path("/proc/nowhere/x.lock"), "It"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_may_take_it_later_is_no_mistake_in_the_settings(number: int) -> None:
    assert isinstance(durable.unusable(Path("/data"), OSError(number, "no")), NoRoom)
