"""Root looks into a box as the box's user, and is root again afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import config
from appliance.device import doctor
from appliance.device.as_owner import as_owner
from appliance.ladder import ladder
from appliance.pipeline.manifest import Bundle

BOXES_OWN = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes other users")


@pytest.fixture
def place() -> Iterator[Path]:
    """Open to others, as pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def theirs(place: Path) -> Path:
    folder = place / "data"
    folder.mkdir(mode=0o700)
    os.chown(folder, BOXES_OWN, BOXES_OWN)
    return folder


def test_what_is_made_meanwhile_is_the_owners_and_then_roots_again(theirs: Path) -> None:
    groups = os.getgroups()
    with as_owner(theirs):
        (theirs / "one").touch()
    (theirs / "two").touch()
    assert [(theirs / name).stat().st_uid for name in ("one", "two")] == [BOXES_OWN, 0]
    assert (theirs / "one").stat().st_gid == BOXES_OWN
    assert (os.geteuid(), os.getgroups()) == (0, groups)


def test_whatever_goes_wrong_meanwhile_root_is_root_again(theirs: Path) -> None:
    with pytest.raises(PermissionError), as_owner(theirs):
        Path("/root/not-for-you").touch()
    assert os.geteuid() == 0


@pytest.mark.parametrize("name", ["data", "nowhere"])
def test_a_folder_of_roots_or_none_changes_nobody(place: Path, name: str) -> None:
    (place / "data").mkdir()
    with as_owner(place / name):
        assert os.geteuid() == 0


def test_a_doctor_who_is_root_leaves_nothing_of_his_own_in_the_box(
    place: Path, theirs: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keeping(bundle: Bundle, settings: config.Settings) -> ladder.Climbed:
        (settings.data_dir / "golden").mkdir()  # as where OpenVINO's pictures are held against the reference's
        return climb(bundle, settings)

    climb = ladder.climb
    monkeypatch.setattr(ladder, "climb", keeping)
    bundle = shutil.copytree(tiny_folder, place / "bundle")
    for path in (bundle, *bundle.rglob("*")):
        path.chmod(0o755)
    found = doctor.examine(config.load({"data_dir": theirs, "bundle": bundle, "threads": 1}))
    assert next(finding.level for finding in found if finding.name == "engine") == "good"
    assert (theirs / "golden").stat().st_uid == BOXES_OWN
    assert {path.stat().st_uid for path in theirs.rglob("*")} == {BOXES_OWN}
