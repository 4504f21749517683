"""The fault-injecting engine: it draws something for any bundle, the same for the same, and fails only on order."""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.engines.faulty import ORDERS, Faulty, give, shape_at, sizes_of, take
from appliance.errors import EngineFault
from appliance.pipeline.manifest import Bundle, Component, Tensor
from appliance.pipeline.text_to_image import TextToImage
from appliance.request import GenerationRequest


@pytest.fixture
def drawn(tiny: Bundle, tmp_path: Path) -> TextToImage:
    return TextToImage.load(tiny, Faulty(tmp_path, seconds=0), threads=1)


def request_of(pipeline: TextToImage, seed: int = 1) -> GenerationRequest:
    return GenerationRequest.of({"prompt": "a red apple", "seed": seed, "steps": 2}, pipeline.bundle.manifest.offer())


def pixels(pipeline: TextToImage, seed: int = 1) -> NDArray[np.uint8]:
    *_, state = pipeline.denoise(request_of(pipeline, seed))
    return pipeline.decode(state.latents)


def test_it_draws_a_picture_that_depends_on_the_seed_alone(drawn: TextToImage) -> None:
    one = pixels(drawn)
    assert np.ptp(one) > 0
    assert np.array_equal(one, pixels(drawn))
    assert not np.array_equal(one, pixels(drawn, seed=2))


def test_the_next_unet_call_runs_out_of_memory_on_order_and_the_one_after_it_does_not(
    drawn: TextToImage, tmp_path: Path
) -> None:
    give(tmp_path, "memory")
    with pytest.raises(EngineFault, match="memory"):
        pixels(drawn)
    assert np.ptp(pixels(drawn)) > 0


def test_numbers_that_are_none_end_as_a_fault(drawn: TextToImage, tmp_path: Path) -> None:
    give(tmp_path, "nan")
    with pytest.raises(EngineFault):
        pixels(drawn)


def test_a_crash_is_a_segmentation_fault(drawn: TextToImage, tmp_path: Path) -> None:
    give(tmp_path, "crash")
    pid = os.fork()
    if pid == 0:
        faulthandler.disable()
        pixels(drawn)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSEGV


@given(st.text(max_size=12).filter(lambda order: order not in ORDERS))
def test_an_unknown_order_is_refused(order: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        give(Path("/nowhere"), order)


def test_an_order_is_taken_once(tmp_path: Path) -> None:
    give(tmp_path, "hang")
    assert take(tmp_path) == "hang"
    assert take(tmp_path) is None


@given(h=st.integers(1, 40), w=st.integers(1, 40), batch=st.integers(1, 3), scale=st.integers(1, 16))
def test_dynamic_dimensions_come_from_what_is_fed(h: int, w: int, batch: int, scale: int) -> None:
    component = Component(
        file="x",
        inputs=[Tensor(name="sample", dtype="float32", shape=["batch", 4, "h", f"{scale}*w"])],
        outputs=[],
    )
    sizes = sizes_of(component, {"sample": np.zeros((batch, 4, h, scale * w), np.float32)})
    assert sizes == {"batch": batch, "h": h, "w": w}
    assert shape_at(["batch", 3, f"{scale}*h", "w"], sizes) == (batch, 3, scale * h, w)
