"""From a sentence to pixels, on the tiny bundle."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from appliance.engines import Network, Precision
from appliance.errors import BadBundle, EngineFault
from appliance.pipeline.denoise import DenoiseState, advance, feeds
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.preview import preview
from appliance.pipeline.text_to_image import TextToImage
from appliance.pipeline.vae_decoder import to_pixels
from appliance.request import GenerationRequest
from tests.pipeline.conftest import Wish
from tests.tiny_bundles import CHANNELS, PLACES, SCALE, make_tiny_bundle


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextToImage]:
    """A bundle with the same weights that reads words in the templates of `PLACES`."""
    bundle = Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "placed", **PLACES))
    pipeline = TextToImage.load(bundle, threads=1)
    yield pipeline
    pipeline.close()


def drawn(pipeline: TextToImage, request: Any, index: int = 0) -> DenoiseState:
    *_, state = pipeline.denoise(request, index)
    return state


def test_a_picture(pipeline: TextToImage, wish: Wish) -> None:
    states = list(pipeline.denoise(wish(steps=3)))
    assert [state.step for state in states] == [1, 2, 3]
    assert [state.done for state in states] == [False, False, True]
    pixels = pipeline.decode(states[-1].latents)
    assert (pixels.shape, pixels.dtype.name, pixels.flags.c_contiguous) == ((64, 64, 3), "uint8", True)
    assert pixels.std() > 10


def test_width_and_height_are_not_swapped(pipeline: TextToImage, wish: Wish) -> None:
    state = drawn(pipeline, wish(size="96x64", steps=1))
    assert state.latents.shape == (CHANNELS, 64 // SCALE, 96 // SCALE)
    assert pipeline.decode(state.latents).shape == (64, 96, 3)


def test_the_same_wish_is_the_same_picture(pipeline: TextToImage, wish: Wish) -> None:
    first = drawn(pipeline, wish())
    assert drawn(pipeline, wish()).latents.tobytes() == first.latents.tobytes()
    for change in ({"prompt": "a pear"}, {"seed": 8}, {"guidance": 2.0}, {"negative": "blue"}):
        assert not np.array_equal(drawn(pipeline, wish(**change)).latents, first.latents)


def test_picture_i_has_seed_plus_i(pipeline: TextToImage, wish: Wish) -> None:
    second = drawn(pipeline, wish(seed=7), index=1)
    assert np.array_equal(second.latents, drawn(pipeline, wish(seed=8)).latents)
    around = pipeline.start(wish(seed=2**32 - 1), index=1)
    assert np.array_equal(around.latents, pipeline.start(wish(seed=0)).latents)


def test_guidance_costs_a_second_row(pipeline: TextToImage, wish: Wish) -> None:
    assert pipeline.start(wish(guidance=2.0)).rows == 2
    assert pipeline.start(wish(guidance=1.0)).rows == pipeline.start(wish(guidance=0.5)).rows == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_picture_in_a_batch_is_bit_for_bit_the_picture_alone(bundle: Bundle, wish: Wish, threads: int) -> None:
    """Pictures at different steps, with and without guidance, in one UNet call."""
    pipeline = TextToImage.load(bundle, threads=threads)
    wishes = [wish(seed=1), wish(seed=2, guidance=1.0, steps=7), wish(prompt="a pear", steps=2)]
    alone = [drawn(pipeline, request).latents for request in wishes]
    states = [pipeline.start(request) for request in wishes]
    while not all(state.done for state in states):
        waiting = [state for state in states if not state.done]
        answers = iter(pipeline.predict([feeds(state) for state in waiting]))
        states = [state if state.done else advance(state, next(answers)) for state in states]
    together = [state.latents for state in states]
    assert [latents.tobytes() for latents in together] == [latents.tobytes() for latents in alone]


def test_truncated(pipeline: TextToImage, wish: Wish) -> None:
    assert pipeline.truncated(wish()) is None
    assert pipeline.truncated(wish(prompt="a red apple on the mountain")) == "mountain"


def test_the_place_of_the_words_steers_the_picture(placed: TextToImage, wish: Wish) -> None:
    """The words are read with the place's template: the same picture as that text gives with no template at all."""
    pictures = {locale: drawn(placed, wish(locale=locale)).latents for locale in ("en", "en-US", "en-AU", "pt", "fr")}
    assert not np.array_equal(pictures["en"], pictures["en-AU"])
    assert np.array_equal(pictures["en"], pictures["en-US"])
    assert np.array_equal(pictures["en-AU"], drawn(placed, wish(prompt="en-gb: a red apple", locale="fr")).latents)
    assert np.array_equal(pictures["pt"], pictures["fr"])


def test_what_to_leave_out_has_its_place_too_and_nothing_has_none(placed: TextToImage, wish: Wish) -> None:
    def start(**fields: str) -> Any:
        return placed.start(wish(**fields)).prompt_embeds

    uncond, _ = start(locale="en-GB")
    assert np.array_equal(uncond, start(locale="fr")[0])
    negative, _ = start(locale="en-GB", negative="blue")
    assert np.array_equal(negative, start(locale="fr", negative="en-gb: blue")[0])
    assert not np.array_equal(negative, start(locale="fr", negative="blue")[0])


def test_without_templates_the_place_changes_nothing(pipeline: TextToImage, wish: Wish) -> None:
    first = drawn(pipeline, wish(locale="en")).latents
    for locale in ("en-GB", "es", "fr"):
        assert np.array_equal(drawn(pipeline, wish(locale=locale)).latents, first)


def test_a_template_takes_room_and_only_the_persons_own_words_are_told(placed: TextToImage, wish: Wish) -> None:
    def told(prompt: str, locale: str) -> str | None:
        return placed.truncated(wish(prompt=prompt, locale=locale))

    assert told("a red apple", "fr") is None
    assert told("a red apple", "en-GB") == "e"
    assert told("a red apple tree", "es") is None  # only the template's own end is cut
    assert told("a red apple Tree here", "es") == "here"


def test_a_seed_must_be_fixed(pipeline: TextToImage, wish: Wish) -> None:
    with pytest.raises(ValueError, match="seed"):
        pipeline.start(wish(seed=None))


def test_preview_follows_the_denoised_latents(pipeline: TextToImage, wish: Wish) -> None:
    start = pipeline.start(wish(steps=2))
    assert pipeline.preview(start).shape == (16, 16, 3)
    final = drawn(pipeline, wish(steps=2))
    assert final.history is not None
    assert np.allclose(final.history, final.latents, atol=1e-5)
    matrix = pipeline.bundle.manifest.preview
    assert matrix is not None
    colours = np.einsum("chw,cp->hwp", final.latents, np.array(matrix.matrix)).reshape(8, 8, 2, 2, 3)
    shown = pipeline.preview(final).reshape(8, 2, 8, 2, 3).transpose(0, 2, 1, 3, 4)
    assert np.abs(shown.astype(int) - to_pixels(colours)).max() <= 1


def test_preview_without_a_map(pipeline: TextToImage, wish: Wish) -> None:
    pixels = preview(pipeline.start(wish()), None)
    assert (pixels.shape, pixels.dtype.name) == ((8, 8, 3), "uint8")
    assert pixels.std() > 10


def test_preview_of_no_numbers_is_still_a_picture(pipeline: TextToImage, wish: Wish) -> None:
    ill = np.full((CHANNELS, 8, 8), np.nan, np.float32)
    ill[0, 0, 0] = np.inf
    state = replace(pipeline.start(wish()), latents=ill)
    assert pipeline.preview(state).shape == (16, 16, 3)
    assert preview(state, None).shape == (8, 8, 3)


def test_pixels() -> None:
    image = np.array([[-1.0, 0.0, 1.0, -5.0, 5.0]], np.float32)
    assert to_pixels(image).tolist() == [[0, 128, 255, 0, 255]]


class Fake:
    """An engine that counts, and whose VAE may fall ill."""

    name = "fake"
    precision: Precision = "float32"

    def __init__(self, image: float = 0.0) -> None:
        self.image = image
        self.calls: list[str] = []

    def load(self, bundle: Bundle, component: str) -> Network:
        engine = self

        class Counting:
            def run(self, fed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
                engine.calls.append(component)
                rows = len(next(iter(fed.values())))
                answers = {
                    "prompt_embeds": np.zeros((rows, 16, 32), np.float32),
                    "image": np.full((1, 3, 64, 64), engine.image, np.float32),
                    "noise_pred": np.zeros((rows, CHANNELS, 8, 8), np.float32),
                }
                return {tensor.name: answers[tensor.name] for tensor in bundle.manifest.components[component].outputs}

            def close(self) -> None:
                engine.calls.append(f"close {component}")

        return Counting()


def test_words_are_encoded_once(bundle: Bundle, wish: Wish) -> None:
    engine = Fake()
    pipeline = TextToImage.load(bundle, engine)
    assert pipeline.engine_name == "fake"
    for seed in range(3):
        drawn(pipeline, wish(seed=seed, steps=2))
    assert engine.calls.count("text_encoder") == 2  # the words and the empty negative prompt
    assert engine.calls.count("unet") == 6
    pipeline.close()
    assert engine.calls[-3:] == ["close text_encoder", "close unet", "close vae_decoder"]


def test_no_numbers_are_a_fault(bundle: Bundle) -> None:
    pipeline = TextToImage.load(bundle, Fake(image=float("nan")))
    with pytest.raises(EngineFault, match="no numbers"):
        pipeline.decode(np.zeros((CHANNELS, 8, 8), np.float32))


def test_a_bundle_that_lacks_a_part_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    parts = {name: part.model_dump() for name, part in bundle.manifest.components.items()}
    del parts["vae_decoder"]
    folder = make_tiny_bundle(tmp_path / "lacking", components=parts)
    with pytest.raises(BadBundle, match="lacking has no vae_decoder"):
        TextToImage.load(Bundle.open(folder), Fake())


def test_a_unet_that_wants_more_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    parts = {name: part.model_dump() for name, part in bundle.manifest.components.items()}
    parts["unet"]["inputs"].append({"name": "time_ids", "dtype": "float32", "shape": ["batch", 6]})
    folder = make_tiny_bundle(tmp_path / "xl", components=parts)
    with pytest.raises(BadBundle, match=r"unet must take .* time_ids"):
        TextToImage.load(Bundle.open(folder), Fake())


def test_from_a_picture_alone_is_bit_for_bit_from_a_picture_in_a_batch(starting: TextToImage) -> None:
    """Beside pictures from noise, with and without a mask, at different steps."""
    offer = starting.bundle.manifest.offer()
    photo = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[8:40, 16:48] = 255
    files = []
    for pixels in (photo, mask):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.append(buffer.getvalue())
    wishes = [
        GenerationRequest.of({"prompt": "a", "seed": seed, "steps": 5, **fields}, offer)
        for seed, fields in enumerate(
            [{}, {"image": files[0], "strength": 0.5}, {"image": files[0], "mask": files[1], "guidance": 1.0}]
        )
    ]
    alone = [drawn(starting, request).latents.tobytes() for request in wishes]
    states = [starting.start(request) for request in wishes]
    assert [state.schedule.num_inference_steps for state in states] == [5, 2, 5]
    while not all(state.done for state in states):
        answers = iter(starting.predict([feeds(state) for state in states if not state.done]))
        states = [state if state.done else advance(state, next(answers)) for state in states]
    assert [state.latents.tobytes() for state in states] == alone


def test_a_picture_is_encoded_once_and_to_the_latents_that_decode_to_it(starting: TextToImage) -> None:
    """The decoder's unscaling undoes the encoder's scaling, shift included."""
    offer = starting.bundle.manifest.offer()
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (255, 128, 0)).save(buffer, "PNG")
    request = GenerationRequest.of({"prompt": "a", "seed": 1, "count": 2, "image": buffer.getvalue()}, offer)
    first, second = (starting.start(request, index).original for index in range(2))
    assert first is not None
    assert second is not None
    assert first.latents is second.latents
    latents = starting.bundle.manifest.latents
    image = np.broadcast_to(np.array([1.0, 128 / 127.5 - 1, -1.0], np.float32)[:, None, None], (3, 64, 64))
    raw = starting._networks["vae_encoder"].run({"image": np.ascontiguousarray(image)[None]})["latents"][0]
    assert np.allclose(first.latents / latents.scaling_factor + latents.shift_factor, raw, atol=1e-5)
