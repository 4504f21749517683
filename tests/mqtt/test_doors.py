"""The short version of `scripts/torture-fleet doors`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mqtt.doors import doors


def test_no_message_and_no_property_of_it_harms_a_link(tmp_path: Path, tiny_folder: Path) -> None:
    assert doors(tmp_path, tiny_folder, seed=1, count=1500) == []


def test_a_handler_that_fails_is_found_out(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError(7)

    monkeypatch.setattr("mqtt.sender.Sender.acknowledged", fail)
    assert any("KeyError: 7" in line for line in doors(tmp_path, tiny_folder, seed=1, count=300))
