"""Ballast is laid where there is room, given up when there is none, and never costs anybody more than its bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.ballast import NAME, Ballast
from appliance.errors import NoRoom


@dataclass
class Deed:
    """Is refused so often, then done."""

    refusals: int

    def __call__(self) -> str:
        self.refusals -= 1
        if self.refusals >= 0:
            raise NoRoom("The disk is full.")
        return "done"


def test_it_takes_real_blocks_once(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, size=1 << 20)
    assert ballast.lay()
    assert ballast.lay()
    assert os.stat(tmp_path / NAME).st_blocks * 512 >= 1 << 20
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_on_a_full_disk_it_is_given_up_once_and_then_the_deed_is_done(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, size=4096)
    ballast.lay()
    assert ballast.making_room(Deed(refusals=1)) == "done"
    assert not (tmp_path / NAME).exists()
    with pytest.raises(NoRoom):
        ballast.making_room(Deed(refusals=1))


def test_where_there_is_room_nothing_is_given_up(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, size=4096)
    ballast.lay()
    assert ballast.making_room(Deed(refusals=0)) == "done"
    assert (tmp_path / NAME).exists()


def test_a_disk_without_room_to_spare_gets_none_and_no_size_is_no_file(tmp_path: Path) -> None:
    assert not Ballast(tmp_path, size=4096, spare=1 << 60).lay()
    assert not Ballast(tmp_path, size=1 << 60).lay()
    assert not Ballast(tmp_path, size=0).lay()
    assert list(tmp_path.iterdir()) == []
