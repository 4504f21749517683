"""What a picture's file tells."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from PIL import Image

from appliance import png
from appliance.request import GenerationRequest, Offer


def opened(content: bytes) -> Any:
    return Image.open(io.BytesIO(content))


def test_pixels_come_back_unchanged() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(opened(png.encode(pixels))), pixels)


def test_the_parameters_are_what_other_tools_read(tiny_offer: Offer) -> None:
    request = GenerationRequest.of({"prompt": "ñandú", "negative_prompt": "rain", "seed": 9, "count": 2}, tiny_offer)
    assert png.parameters(request, 1, "tiny 0.0.1").splitlines()[:2] == ["ñandú", "Negative prompt: rain"]
    assert "Seed: 10, Size: 64x64, Model: tiny 0.0.1" in png.parameters(request, 1, "tiny 0.0.1")


def test_the_full_request_lies_in_the_file_and_can_be_asked_again(tiny_offer: Offer) -> None:
    request = GenerationRequest.of({"prompt": "a fox 🦊", "seed": 9}, tiny_offer)
    content = png.encode_with_request(
        np.zeros((64, 64, 3), np.uint8), request, 0, engine="onnxruntime", bundle="tiny 0.0.1"
    )
    told = json.loads(opened(content).text["ensueno"])
    assert GenerationRequest.of(told["request"], tiny_offer) == request
