"""Whatever draws wrongly is caught before it serves: nothing, black, one colour, or quietly another picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from appliance.errors import EngineFault
from appliance.ladder import golden
from appliance.ladder.golden import Array
from appliance.pipeline.denoise import DenoiseState
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.plans.passport import Precision
from appliance.request import GenerationRequest
from tests.tiny_bundles import make_tiny_bundle, write_manifest


class Off:
    """The real pipeline with one thing wrong."""

    def __init__(self, pipeline: TextToImage, error: float = 0.0, pixels: int | None = None, prompt: str = "") -> None:
        self.bundle = pipeline.bundle
        self._pipeline, self._error, self._pixels, self._prompt = pipeline, error, pixels, prompt

    def denoise(self, request: GenerationRequest) -> Iterator[DenoiseState]:
        if self._prompt:
            request = request.model_copy(update={"prompt": self._prompt})
        *_, state = self._pipeline.denoise(request)
        noise = np.random.default_rng(0).standard_normal(state.latents.shape, dtype=np.float32)
        noise *= self._error * np.linalg.norm(state.latents) / np.linalg.norm(noise)
        yield replace(state, latents=state.latents + noise)

    def decode(self, latents: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        pixels = self._pipeline.decode(latents)
        return pixels if self._pixels is None else np.full_like(pixels, self._pixels)


@pytest.fixture(scope="module")
def reference(pipeline: TextToImage) -> list[Array]:
    return golden.draw(pipeline)


def test_the_same_engine_holds(pipeline: TextToImage, reference: list[Array]) -> None:
    result = golden.examine(pipeline, reference, "float32")
    assert result.passed, result.reason
    assert result.cosine == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("precision", "error"), [("float32", 3e-4), ("float16", 6e-3), ("bfloat16", 5e-2), ("int8", 0.11)]
)
def test_the_error_that_was_measured_for_a_precision_holds(
    pipeline: TextToImage, reference: list[Array], precision: Precision, error: float
) -> None:
    assert golden.examine(Off(pipeline, error=error), reference, precision).passed


@pytest.mark.parametrize(
    ("precision", "error"), [("float32", 3e-3), ("float16", 8e-2), ("bfloat16", 0.18), ("int8", 0.18)]
)
def test_the_error_of_a_wrong_picture_does_not(
    pipeline: TextToImage, reference: list[Array], precision: Precision, error: float
) -> None:
    result = golden.examine(Off(pipeline, error=error), reference, precision)
    assert not result.passed
    assert "cosine" in (result.reason or "")


def test_another_prompt_is_another_picture(pipeline: TextToImage, reference: list[Array]) -> None:
    assert not golden.examine(Off(pipeline, prompt="zzz"), reference, "float16").passed


@pytest.mark.parametrize(("pixels", "why"), [(0, "black"), (128, "flat colour")])
def test_black_and_flat_pictures_do_not_hold(
    pipeline: TextToImage, reference: list[Array], pixels: int, why: str
) -> None:
    result = golden.examine(Off(pipeline, pixels=pixels), reference, "int8")
    assert not result.passed
    assert why in (result.reason or "")


@pytest.mark.parametrize("error", [float("nan"), float("inf")])
def test_no_numbers_do_not_hold(pipeline: TextToImage, reference: list[Array], error: float) -> None:
    result = golden.examine(Off(pipeline, error=error), reference, "int8")
    assert not result.passed
    assert "no numbers" in (result.reason or "")


def test_an_engine_that_fails_has_not_held(pipeline: TextToImage, reference: list[Array]) -> None:
    class Failing(Off):
        def denoise(self, request: GenerationRequest) -> Iterator[DenoiseState]:
            raise EngineFault("The device is gone.")

    result = golden.examine(Failing(pipeline), reference, "float32")
    assert (result.passed, result.reason) == (False, "The device is gone.")


def test_a_reference_of_another_size_is_told(pipeline: TextToImage, reference: list[Array]) -> None:
    result = golden.examine(pipeline, [latents[:, :-1] for latents in reference], "float32")
    assert "another size" in (result.reason or "")


# --- the reference -----------------------------------------------------------------------------------------------


def test_the_reference_is_drawn_once_and_kept(tiny: Bundle, pipeline: TextToImage, tmp_path: Path) -> None:
    drawn = golden.reference(tiny, tmp_path / "golden", lambda: pipeline)
    kept = golden.reference(tiny, tmp_path / "golden", pytest.fail)
    np.testing.assert_array_equal(drawn, kept)


def test_a_kept_reference_that_is_damaged_is_drawn_again(tiny: Bundle, pipeline: TextToImage, tmp_path: Path) -> None:
    golden.reference(tiny, tmp_path, lambda: pipeline)
    (path,) = tmp_path.iterdir()
    for damage in (b"", b"PK\x03\x04", path.read_bytes()[:100]):
        path.write_bytes(damage)
        assert len(golden.reference(tiny, tmp_path, lambda: pipeline)) == len(golden.SEEDS)


def test_a_reference_that_came_with_the_bundle_is_taken(
    pipeline: TextToImage, reference: list[Array], tmp_path: Path
) -> None:
    folder = make_tiny_bundle(tmp_path / "tiny")
    (folder / golden.REFERENCE).write_bytes(golden.packed(reference))
    write_manifest(folder, json.loads((folder / "manifest.json").read_text()))
    stored = golden.reference(Bundle.open(folder), tmp_path / "none", pytest.fail)
    np.testing.assert_array_equal(stored, reference)


def test_another_bundle_has_another_reference(tiny: Bundle, pipeline: TextToImage, tmp_path: Path) -> None:
    other = Bundle.open(make_tiny_bundle(tmp_path / "other", name="other"))
    golden.reference(tiny, tmp_path / "kept", lambda: pipeline)
    golden.reference(other, tmp_path / "kept", lambda: pipeline)
    assert len(list((tmp_path / "kept").iterdir())) == 2
