"""A Dockerfile's steps, done to a folder; that programs run there, under QEMU, is proven by `scripts/test-aarch64`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from appliance.errors import EngineFault
from packing.built import Built, context
from packing.dockerfile import parse
from packing.pictures import apart
from packing.userland import Userland, copied


class Here(Userland):
    """Programs run on this machine, in the folder: it proves nothing about chroot, users or another processor."""

    def command(
        self, words: Sequence[str], environment: Mapping[str, str], user: str = "0:0", folder: str = "/"
    ) -> list[str]:
        settings = [f"{name}={value}" for name, value in environment.items()]
        return ["env", "-C", f"{self.root}{folder}", "-i", *settings, *words]


def repository(folder: Path) -> Path:
    """Tracked: a, package with a link, and hidden/b. Not tracked: package/c."""
    folder.mkdir()
    (folder / "package" / "inner").mkdir(parents=True)
    (folder / "hidden").mkdir()
    for name in ("a", "package/inner/d", "hidden/b"):
        (folder / name).write_text(name)
    (folder / "package" / "link").symlink_to("inner/d")
    (folder / ".dockerignore").write_text("*\n!a\n!package\n")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    (folder / "package" / "c").write_text("c")
    return folder


def built(tmp_path: Path, text: str) -> tuple[Path, list[bool]]:
    root = tmp_path / "root"
    root.mkdir()
    with context(repository(tmp_path / "repository")) as sent:
        image = Built(Here(root), sent)
        return root, [image.take(step) for step in parse(text).stages[-1].steps]


def test_a_build_is_sent_what_is_tracked_and_let_through(tmp_path: Path) -> None:
    with context(repository(tmp_path / "repository")) as sent:
        names = {str(path.relative_to(sent)) for path in sent.rglob("*") if path.is_symlink() or path.is_file()}
        assert names == {"a", "package/inner/d", "package/link"}
        assert (sent / "package" / "link").is_symlink()


def test_steps_are_done_in_their_folder_and_environment(tmp_path: Path) -> None:
    root, done = built(
        tmp_path,
        "FROM x AS other\nFROM y\nENV NAME=one\nENV MORE=${NAME}two\nWORKDIR /work\nCOPY a package /work/into/\n"
        "RUN --mount=type=bind,from=other,target=/z false\n"
        'RUN printf %s "$NAME$MORE" >said',
    )
    assert done == [True, True, True, True, False, True]
    assert (root / "work" / "said").read_text() == "oneonetwo"
    copied = root / "work" / "into"
    assert sorted(path.name for path in copied.iterdir()) == ["a", "inner", "link"]
    assert (copied / "link").read_text() == "package/inner/d"


def test_a_userland_is_copied_with_what_cannot_be_read(tmp_path: Path) -> None:
    for name in ("base", "root"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "base" / "pipe")
    (tmp_path / "base" / "link").symlink_to("/nowhere")
    root = copied(tmp_path / "base", tmp_path / "root")
    assert (root / "pipe").is_fifo()
    assert (root / "link").is_symlink()


@pytest.mark.parametrize(
    ("step", "said"),
    [("RUN echo no room >&2; exit 3", "ended with 3: no room"), ("COPY hidden /x/", "COPY hidden: nothing of that")],
)
def test_a_step_that_fails_is_one_sentence(tmp_path: Path, step: str, said: str) -> None:
    with pytest.raises(EngineFault, match=said):
        built(tmp_path, f"FROM x\n{step}")


def test_pictures_are_compared(tmp_path: Path) -> None:
    one, other, flat, small = (tmp_path / f"{name}.png" for name in ("one", "other", "flat", "small"))
    pixels = np.random.default_rng(0).integers(0, 250, (8, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(one)
    Image.fromarray(pixels[:4]).save(small)
    Image.fromarray(np.zeros_like(pixels)).save(flat)
    assert apart(one, one) == {"size": [10, 8], "most": 0, "share": 0.0, "psnr_db": None}
    pixels[0, 0, 0] += 3
    Image.fromarray(pixels).save(other)
    assert apart(one, other) == {"size": [10, 8], "most": 3, "share": 1 / 240, "psnr_db": 62.4}
    for wrong, said in ((small, "not of the same model"), (flat, "shows nothing")):
        with pytest.raises(EngineFault, match=said):
            apart(wrong, one)
