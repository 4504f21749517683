"""Contact sheets: many small pictures in one PNG, for the eye that judges a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.corpus.library import Pixels


def write(path: Path, rows: Sequence[Pixels], labels: Sequence[str] = (), scale: int = 2) -> None:
    """Rows of pictures (each uint8 ``[n, S, S, 3]``) under one another, each with its label above it."""
    size = rows[0].shape[1] * scale
    head = 14 if labels else 0
    width = size * max(len(row) for row in rows)
    sheet = Image.new("RGB", (width, (size + head) * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        if labels:
            draw.text((2, y * (size + head)), labels[y], fill="black")
        for x, pixels in enumerate(row):
            picture = Image.fromarray(np.ascontiguousarray(pixels)).resize((size, size), Image.Resampling.NEAREST)
            sheet.paste(picture, (x * size, y * (size + head) + head))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
