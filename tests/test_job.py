from __future__ import annotations

from datetime import timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.job import JobState, picture_seed, timestamp
from appliance.request import MAX_SEED

seeds = st.integers(0, MAX_SEED)


@pytest.mark.parametrize("state", JobState)
def test_a_job_is_accepted_or_has_its_one_end(state: JobState) -> None:
    assert state.ended == (state.value in {"finished", "failed", "cancelled", "expired"})


@given(seeds, st.integers(0, 63))
def test_a_picture_asked_for_alone_has_the_seed_it_had_in_the_set(seed: int, index: int) -> None:
    alone = picture_seed(seed, index)
    assert 0 <= alone <= MAX_SEED
    assert picture_seed(alone, 0) == alone


@given(seeds)
def test_the_pictures_of_a_job_differ(seed: int) -> None:
    assert len({picture_seed(seed, index) for index in range(64)}) == 64


def test_time_is_told_in_utc() -> None:
    assert timestamp(0).isoformat() == "1970-01-01T00:00:00+00:00"
    assert timestamp(1.5).tzinfo is timezone.utc
