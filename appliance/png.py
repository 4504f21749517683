"""A picture's file: PNG with what other tools read (`parameters`) and the whole request as json (`ensueno`)."""

from __future__ import annotations

import io
import json

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from appliance import __version__
from appliance.job import picture_seed
from appliance.request import GenerationRequest

_LEVEL = 4  # 6 takes 2.5 times as long for a file 3 % smaller


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """A bare PNG of (height, width, 3) uint8 pixels, as previews use."""
    return _png(pixels, None)


def encode_with_request(
    pixels: NDArray[np.uint8],
    request: GenerationRequest,
    index: int,
    *,
    engine: str,
    bundle: str,
    blurred: bool = False,
) -> bytes:
    """The PNG of picture `index` of a request, telling how it was made, and where so that it was blurred."""
    info = PngInfo()
    info.add_itxt("parameters", parameters(request, index, bundle))
    told = {
        "request": request.told(),
        "index": index,
        "engine": engine,
        "bundle": bundle,
        "software": f"ensueno {__version__}",
        **({"blurred": True} if blurred else {}),
    }
    info.add_itxt("ensueno", json.dumps(told, ensure_ascii=False))
    return _png(pixels, info)


def parameters(request: GenerationRequest, index: int, bundle: str) -> str:
    """The text that other tools read: prompt, negative prompt, and a line of settings."""
    if request.seed is None:
        raise ValueError("the request's seed must be fixed before its picture is stored")
    settings = {
        "Steps": request.steps,
        "Sampler": request.scheduler,
        "CFG scale": f"{request.guidance:g}",
        "Seed": picture_seed(request.seed, index),
        "Size": f"{request.width}x{request.height}",
        **_start(request),
        "Model": bundle,
        "Version": f"ensueno {__version__}",
    }
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    lines.append(", ".join(f"{key}: {value}" for key, value in settings.items()))
    return "\n".join(lines)


def _start(request: GenerationRequest) -> dict[str, str]:
    """What the picture was made from, in the names that other tools have for it."""
    if request.image is None or request.strength is None:
        return {}
    told = {"Denoising strength": f"{request.strength:g}", "Init image hash": request.image.sha256}
    return told if request.mask is None else told | {"Mask hash": request.mask.sha256}


def _png(pixels: NDArray[np.uint8], info: PngInfo | None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, "PNG", pnginfo=info, compress_level=_LEVEL)
    return buffer.getvalue()
