"""`ensueno generate`: file names, and drawing several pictures together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from appliance.draw import draw_together
from appliance.generate import Drawn, save
from appliance.pipeline.text_to_image import TextToImage
from appliance.request import GenerationRequest, Offer


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a red apple", "a-red-apple"),
        ("¡Una niña, dos gatos!", "una-nina-dos-gatos"),
        ("../../etc/passwd", "etc-passwd"),
        ("🍎", "picture"),
        ("x" * 300, "x" * 40),
    ],
)
def test_a_file_is_named_by_its_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert save(Drawn([b"1"], [5], "onnxruntime", None), prompt, None) == [tmp_path / f"{name}-5.png"]


def test_a_named_file_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    drawn = Drawn([b"1"], [5], "onnxruntime", None)
    assert save(drawn, "x", tmp_path / "picture.png") == [tmp_path / "picture.png"]


def test_pictures_drawn_together_are_those_drawn_alone(pipeline: TextToImage, tiny_offer: Offer) -> None:
    together = draw_together(pipeline, GenerationRequest.of({"prompt": "a", "seed": 1, "count": 4}, tiny_offer))
    for index, pixels in enumerate(together):
        alone = GenerationRequest.of({"prompt": "a", "seed": 1 + index}, tiny_offer)
        (expected,) = draw_together(pipeline, alone)
        assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_progress_is_told_after_every_step(pipeline: TextToImage, tiny_offer: Offer) -> None:
    heard: list[tuple[int, int]] = []
    request = GenerationRequest.of({"prompt": "a", "seed": 1, "steps": 3}, tiny_offer)
    draw_together(pipeline, request, lambda step, steps: heard.append((step, steps)))
    assert heard == [(1, 3), (2, 3), (3, 3)]
