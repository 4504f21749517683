"""A short torment of the wire, and its negative control; scripts/torture-link runs the long ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def torment(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torture.wire", "--folder", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_every_job_has_one_end_though_broker_boxes_and_people_are_killed(tmp_path: Path) -> None:
    done = torment(tmp_path, "--kills", "3", "--jobs", "40", "--seed", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 jobs asked, 40 ends heard" in done.stdout
    assert "3 of a broker, 3 of a device, 3 of a requester" in done.stdout


def test_a_box_that_says_accepted_too_early_is_found_out(tmp_path: Path) -> None:
    done = torment(tmp_path, "--kills", "8", "--jobs", "150", "--seed", "3", "--careless")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "found out, as it must be" in done.stdout
