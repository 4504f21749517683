"""Which pictures share the next UNet call: same shape, within the row limit, everyone in turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """Something with a next step to take."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def rows(self) -> int: ...
    @property
    def served(self) -> int: ...


W = TypeVar("W", bound=Waiting)


def choose(waiting: Iterable[W], limit: int) -> list[W]:
    """The next batch: the shape whose picture waited longest, filled with its longest-waiting pictures.

    `served` is the turn at which a picture was last in a batch, so the smallest waited longest; at least one picture is
    chosen even when it alone has more than `limit` rows.
    """
    order = sorted(waiting, key=lambda picture: picture.served)
    if not order:
        return []
    batch = [order[0]]
    rows = order[0].rows
    for picture in order[1:]:
        if picture.shape == order[0].shape and rows + picture.rows <= limit:
            batch.append(picture)
            rows += picture.rows
    return batch


def rows(waiting: Sequence[Waiting]) -> int:
    """UNet rows of all of them."""
    return sum(picture.rows for picture in waiting)
