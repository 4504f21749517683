"""Finding the line of a unit that keeps CUDA away. Here a stand-in runs the probe, as bare as systemd would."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.device import cuda
from appliance.device.sandbox import Directive, _under_systemd, culprits, directives
from appliance.errors import EnsuenoError

LINES = [(f"Directive{number}", "yes") for number in range(40)]
SYSTEMD_RUN = """#!/bin/sh
cd / && errors=/dev/null
while :; do
    case $1 in
    -p) shift 2 ;;
    --pipe) errors=/dev/stderr; shift ;;
    --working-directory=*) cd "${1#*=}"; shift ;;
    -*) shift ;;
    *) exec env -i "$@" 2>$errors ;;
    esac
done
"""


@given(guilty=st.sets(st.sampled_from(LINES), max_size=4))
def test_exactly_the_guilty_lines_are_named(guilty: set[Directive]) -> None:
    asked = 0

    def trouble(under: Sequence[Directive]) -> str | None:
        nonlocal asked
        asked += 1
        return "no" if guilty & set(under) else None

    assert set(culprits(LINES, trouble)) == guilty
    assert asked < 80


def test_two_lines_that_only_fail_together_are_cleared_by_either() -> None:
    together = {LINES[3], LINES[30]}
    assert len(culprits(LINES, lambda under: "no" if together <= set(under) else None)) == 1


def test_a_gpu_that_never_works_is_not_the_sandboxs_fault_and_says_why() -> None:
    with pytest.raises(EnsuenoError, match=r"outside the sandbox too \(cuInit failed with CUDA error 100\): install"):
        culprits(LINES, lambda under: "cuInit failed with CUDA error 100.")


def test_the_probe_finds_itself_where_systemd_starts_it_and_says_what_it_says_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "systemd-run").write_text(SYSTEMD_RUN)
    (tmp_path / "systemd-run").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    # as on a box, a Python in which nothing of ours was installed
    monkeypatch.setattr(sys, "executable", str(Path(sys.executable).resolve()))
    assert _under_systemd(LINES) == cuda.trouble()


def test_only_the_confining_lines_of_a_unit_are_tried(tmp_path: Path) -> None:
    unit = tmp_path / "x.service"
    unit.write_text(
        "[Unit]\nAfter=a\n[Service]\nType=notify\n# a word\nPrivateUsers=yes\nDeviceAllow=/dev/nvmap rw\nExecStart=x\n"
    )
    assert directives(unit) == [("PrivateUsers", "yes"), ("DeviceAllow", "/dev/nvmap rw")]
