"""A stop is heard while somebody listens, and afterwards means what it did."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from appliance import stop_signals


@pytest.fixture
def earlier() -> Iterator[list[int]]:
    """Whoever heard them before; a test worker may ignore SIGINT."""
    caught: list[int] = []
    with stop_signals.heard(lambda number, _: caught.append(number)):
        yield caught


def test_both_are_heard_and_then_go_where_they_went_before(earlier: list[int]) -> None:
    caught: list[int] = []
    with stop_signals.heard(lambda number, _: caught.append(number)):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    assert (caught, earlier) == ([signal.SIGTERM, signal.SIGINT], [signal.SIGTERM])


def test_one_alone_can_be_heard(earlier: list[int]) -> None:
    caught: list[int] = []
    with stop_signals.heard(lambda number, _: caught.append(number), (signal.SIGTERM,)):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert (caught, earlier) == ([signal.SIGTERM], [signal.SIGINT])


def test_what_fails_meanwhile_gives_them_back(earlier: list[int]) -> None:
    with pytest.raises(ZeroDivisionError), stop_signals.heard(lambda *_: None):
        raise ZeroDivisionError
    signal.raise_signal(signal.SIGTERM)
    assert earlier == [signal.SIGTERM]
