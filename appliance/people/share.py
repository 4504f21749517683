"""How much of what a box has few of one asker may hold: places in the queue, streams, uploads."""

from __future__ import annotations

from typing import NamedTuple


class Share(NamedTuple):
    """Parts of a whole, one at least: `own` may be his, and he is given more while less than `reach` is taken."""

    own: float
    reach: float

    def allows(self, total: int, own: int, taken: int) -> bool:
        """Whether one more is his, who holds `own` of the `taken`."""
        most, reach = (max(1, int(total * part)) for part in self)
        return taken < total and own < most and taken < reach


WHOLE = Share(1.0, 1.0)
GUESTS = Share(0.25, 0.75)  # the last quarter is out of reach of all guests together: an owner always gets in
