"""How far apart two pictures are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from appliance.errors import EngineFault


def apart(one: Path, other: Path) -> dict[str, Any]:
    """`most` and `share` of values that differ (of 255), and the PSNR in dB, None where nothing differs."""
    first, second = (np.asarray(Image.open(path).convert("RGB"), dtype=np.int16) for path in (one, other))
    if first.shape != second.shape:
        raise EngineFault(f"One picture is {first.shape}, the other {second.shape}: they are not of the same model.")
    if first.std() < 1:
        raise EngineFault(f"{one} shows nothing: its values are all the same.")
    difference = np.abs(first - second)
    square = float((difference.astype(np.float64) ** 2).mean())
    psnr = round(float(10 * np.log10(255**2 / square)), 1) if square else None
    return {
        "size": list(first.shape[1::-1]),
        "most": int(difference.max()),
        "share": float((difference > 0).mean()),
        "psnr_db": psnr,
    }
