"""Seen sequence numbers, held to a plain set."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt.fleet.ranges import Ranges, add, add_range, gaps, holding

NUMBERS = st.lists(st.integers(0, 60))


@given(NUMBERS)
def test_ranges_know_what_a_set_knows(numbers: list[int]) -> None:
    ranges: Ranges = []
    seen: set[int] = set()
    for number in numbers:
        assert add(ranges, number) == (number not in seen)
        seen.add(number)
    assert {number for first, last in ranges for number in range(first, last + 1)} == seen
    assert gaps(ranges) == (max(seen) - min(seen) + 1 - len(seen) if seen else 0)


@given(NUMBERS)
def test_ranges_are_sorted_and_never_touch(numbers: list[int]) -> None:
    ranges: Ranges = []
    for number in numbers:
        add(ranges, number)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(ranges))


@given(NUMBERS, st.integers(0, 60))
def test_the_range_of_a_number_is_found(numbers: list[int], wanted: int) -> None:
    ranges: Ranges = []
    for number in numbers:
        add(ranges, number)
    if wanted in numbers:
        first, last = holding(ranges, wanted)
        assert first <= wanted <= last
    else:
        with pytest.raises(KeyError):
            holding(ranges, wanted)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9))))
def test_whole_ranges_go_in_as_their_numbers_would(spans: list[tuple[int, int]]) -> None:
    whole: Ranges = []
    single: Ranges = []
    for first, more in spans:
        add_range(whole, first, first + more)
        for number in range(first, first + more + 1):
            add(single, number)
    assert whole == single
