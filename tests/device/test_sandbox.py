"""Finding the line of a unit that keeps CUDA away. That the probe runs under systemd is not proven here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.device.sandbox import Directive, culprits, directives
from appliance.errors import EnsuenoError

LINES = [(f"Directive{number}", "yes") for number in range(40)]


@given(guilty=st.sets(st.sampled_from(LINES), max_size=4))
def test_exactly_the_guilty_lines_are_named(guilty: set[Directive]) -> None:
    asked = 0

    def works(under: Sequence[Directive]) -> bool:
        nonlocal asked
        asked += 1
        return not guilty & set(under)

    assert set(culprits(LINES, works)) == guilty
    assert asked < 80


def test_two_lines_that_only_fail_together_are_cleared_by_either() -> None:
    together = {LINES[3], LINES[30]}
    assert len(culprits(LINES, lambda under: not together <= set(under))) == 1


def test_a_gpu_that_never_works_is_not_the_sandboxs_fault() -> None:
    with pytest.raises(EnsuenoError, match="outside the sandbox too"):
        culprits(LINES, lambda under: False)


def test_only_the_confining_lines_of_a_unit_are_tried(tmp_path: Path) -> None:
    unit = tmp_path / "x.service"
    unit.write_text(
        "[Unit]\nAfter=a\n[Service]\nType=notify\n# a word\nPrivateUsers=yes\nDeviceAllow=/dev/nvmap rw\nExecStart=x\n"
    )
    assert directives(unit) == [("PrivateUsers", "yes"), ("DeviceAllow", "/dev/nvmap rw")]
