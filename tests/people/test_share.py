"""How much one may hold beside others."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from appliance.people.share import GUESTS, WHOLE


def test_who_shares_with_nobody_may_hold_the_whole_and_no_more() -> None:
    assert [WHOLE.allows(3, held, held) for held in range(5)] == [True, True, True, False, False]
    assert not WHOLE.allows(0, 0, 0)


def test_a_guest_may_hold_a_quarter_and_one_at_least() -> None:
    for total, most in ((100, 25), (22, 5), (4, 1), (1, 1)):
        assert [held for held in range(total + 1) if GUESTS.allows(total, held, held)] == [*range(most)]


@given(total=st.integers(2, 60), askers=st.lists(st.integers(1, 9), max_size=100))
def test_however_many_guests_ask_an_owner_finds_a_place(total: int, askers: list[int]) -> None:
    held: Counter[int] = Counter()
    for guest in askers:
        held[guest] += GUESTS.allows(total, held[guest], held.total())
    assert held.total() <= max(1, total * 3 // 4)
    assert WHOLE.allows(total, 0, held.total())
