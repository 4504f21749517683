from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance import ids


def test_an_id_is_a_ulid() -> None:
    assert ids.ULID.fullmatch(ids.new_id())
    assert ids.JOB_ID.fullmatch(ids.new_id())


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for seconds in [0.0, 0.001, 1.0, 1_000_000_000.0, 4_000_000_000.0]:
        monkeypatch.setattr(time, "time", lambda now=seconds: now)
        made.append(ids.new_id())
    assert made == sorted(made)


def test_ids_never_meet_even_in_the_same_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1.0)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: ids.new_id(), range(2000)))
    assert len(set(made)) == 2000


@pytest.mark.parametrize("text", ["", "../x", "a/b", ".hidden", "-option", "a b", "a\n", "a\0", "é", "x" * 65])
def test_this_is_no_job_id(text: str) -> None:
    assert not ids.JOB_ID.fullmatch(text)


@pytest.mark.parametrize(
    "text", ["8" + "0" * 25, "0" * 25, "0" * 27, "0" * 25 + "U", "0" * 25 + "\n", "../" + "0" * 23]
)
def test_this_is_no_ulid(text: str) -> None:
    assert not ids.ULID.fullmatch(text)


def test_the_boot_has_one_id() -> None:
    assert ids.boot_id() == ids.boot_id() != ""


def test_a_kernel_that_does_not_tell_its_boot_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert ids.boot_id() == "unknown"
