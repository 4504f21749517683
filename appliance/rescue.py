"""After a damaged journal was set aside: the gallery again, from what the pictures' own files tell (png.py).

Each becomes the one picture of a finished job of its own. Who asked, hearts and thumbs were in the damaged journal
alone: where people have paired, only an owner sees what was found. It is done at each start while the damaged journal
lies aside, and finds only what the new one never allotted, so one that was cut short goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError

from appliance.images import ImageStore
from appliance.job import picture_seed
from appliance.journal import Journal
from appliance.journal.gallery import Found
from appliance.request import GenerationRequest

_AT_ONCE = 200  # in one transaction


def rescue(journal_path: Path, images_dir: Path) -> int:
    """Hang what is found, in the order of the files' times; → how many. Raises `NoRoom`, `Unavailable`."""
    if not images_dir.is_dir():
        return 0
    store = ImageStore(images_dir)
    journal = Journal(journal_path)
    try:
        lost = store.names() - journal.gallery.ever_allotted()
        paths = [images_dir / name[-2:] / f"{name}.png" for name in lost]
        there = sorted((path.stat().st_mtime, path) for path in paths if path.is_file())
        found = (told for _, path in there if (told := _read(path)) is not None)
        return sum(_hang(journal, found))
    finally:
        journal.close()


def _hang(journal: Journal, found: Iterator[Found]) -> Iterator[int]:
    while some := list(islice(found, _AT_ONCE)):
        journal.gallery.take_in(some)
        yield len(some)


def _read(path: Path) -> Found | None:
    """What the file tells; None where it tells nothing that can be believed."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            told = json.loads(picture.info["ensueno"])
        fields, index = told["request"], told["index"]
        alone = {"seed": picture_seed(fields["seed"], index), "count": 1}
        request = GenerationRequest.model_validate_json(json.dumps(fields | alone))
        return Found(path.stem, request, str(told["engine"])[:200], path.stat().st_mtime, told.get("blurred") is True)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, KeyError, TypeError, ValidationError):
        return None
