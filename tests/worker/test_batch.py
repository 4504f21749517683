"""Who shares the next UNet call."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from appliance.worker.batch import choose, rows


@dataclass(frozen=True)
class Waiting:
    shape: tuple[int, ...] = (4, 8, 8)
    rows: int = 2
    served: int = 0


waiting = st.builds(
    Waiting,
    shape=st.sampled_from([(4, 8, 8), (4, 8, 16)]),
    rows=st.sampled_from([1, 2]),
    served=st.integers(0, 9),
)


def test_nobody_waiting_is_an_empty_batch() -> None:
    assert choose([], 8) == []


def test_one_picture_is_drawn_even_when_it_alone_is_over_the_limit() -> None:
    assert choose([Waiting(rows=2)], 1) == [Waiting(rows=2)]


@given(st.lists(waiting, min_size=1, max_size=12), st.integers(2, 16))
def test_a_batch_is_of_one_shape_within_the_limit_and_holds_whoever_waited_longest(
    crowd: list[Waiting], limit: int
) -> None:
    batch = choose(crowd, limit)
    assert len({picture.shape for picture in batch}) == 1
    assert rows(batch) <= limit
    assert min(picture.served for picture in crowd) in {picture.served for picture in batch}


@given(st.lists(waiting, min_size=1, max_size=12), st.integers(2, 16))
def test_everyone_is_served_within_as_many_turns_as_there_are_pictures(crowd: list[Waiting], limit: int) -> None:
    served = dict.fromkeys(range(len(crowd)), 0)
    now = 10
    for _ in range(len(crowd)):
        now += 1
        named = [
            _Named(picture.shape, picture.rows, max(picture.served, served[i]), i) for i, picture in enumerate(crowd)
        ]
        for picture in choose(named, limit):
            served[picture.name] = now
    assert all(served.values())


@dataclass(frozen=True)
class _Named:
    shape: tuple[int, ...]
    rows: int
    served: int
    name: int
