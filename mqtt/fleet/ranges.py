"""Which sequence numbers were seen: sorted, disjoint, inclusive ranges that grow together as gaps close."""

from __future__ import annotations

from bisect import bisect_right
from typing import TypeAlias

Ranges: TypeAlias = list[tuple[int, int]]


def add(ranges: Ranges, number: int) -> bool:
    """Put `number` in; False when it was there already."""
    place = bisect_right(ranges, (number, number)) if ranges else 0
    # The range before may hold or touch it; one that begins exactly at `number` and ends later sorts behind.
    if (place and ranges[place - 1][1] >= number) or (place < len(ranges) and ranges[place][0] == number):
        return False
    first = last = number
    if place < len(ranges) and ranges[place][0] == number + 1:
        last = ranges.pop(place)[1]
    if place and ranges[place - 1][1] == number - 1:
        place -= 1
        first = ranges.pop(place)[0]
    ranges.insert(place, (first, last))
    return True


def add_range(ranges: Ranges, first: int, last: int) -> None:
    """Put all numbers from `first` to `last` in, however many they are."""
    start = bisect_right(ranges, (first, first)) if ranges else 0
    if start and ranges[start - 1][1] >= first - 1:
        start -= 1
    end = start
    while end < len(ranges) and ranges[end][0] <= last + 1:
        first, last = min(first, ranges[end][0]), max(last, ranges[end][1])
        end += 1
    ranges[start:end] = [(first, last)]


def holding(ranges: Ranges, number: int) -> tuple[int, int]:
    """The range that `number` lies in. Raises `KeyError` when it was never put in."""
    place = bisect_right(ranges, (number, float("inf")))
    if not place or ranges[place - 1][1] < number:
        raise KeyError(number)
    return ranges[place - 1]


def count(ranges: Ranges) -> int:
    """How many numbers are in."""
    return sum(last - first + 1 for first, last in ranges)


def gaps(ranges: Ranges) -> int:
    """How many numbers are missing between the first and the last."""
    return ranges[-1][1] - ranges[0][0] + 1 - count(ranges) if ranges else 0
