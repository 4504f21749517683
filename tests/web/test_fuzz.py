"""The short run of `tests/web/fuzz.py`; docs/security.md has the figure of the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.web import health
from tests.web.fuzz import Fuzzer


def test_no_request_makes_the_box_stumble_or_say_what_is_not_documented(tmp_path: Path) -> None:
    fuzzer = Fuzzer(tmp_path, seed=1)
    for name in sorted(fuzzer.operations):
        fuzzer.group(name, 60)
    assert fuzzer.tally.wrong == []
    assert {200, 202, 400, 401, 403, 404} <= set(fuzzer.tally.answers)


def test_the_fuzzer_sees_a_box_that_stumbles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    fuzzer = Fuzzer(tmp_path, seed=1)

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(health, "Health", broken)
    fuzzer.group("health", 60)
    assert any("500" in wrong for wrong in fuzzer.tally.wrong)
