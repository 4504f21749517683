"""Decoding in tiles: exact where a decoder looks no further than the overlap, and without seams where it does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.pipeline import tiles
from appliance.pipeline.tiles import BYTES_PER_PIXEL, SMALLEST, decode_tiled, side_within

Array = NDArray[np.float32]
SCALE = 8
PSNR = 28.0  # dB that a picture in tiles must have against the one decoded whole
SEAM = 1.5  # times the usual step between neighbouring pixels that the step at a tile's edge may have


def enlarged(latents: Array) -> Array:
    """A decoder that looks at one latent alone."""
    return np.repeat(np.repeat(latents[:, :3], SCALE, axis=2), SCALE, axis=3)


@pytest.fixture(scope="module")
def autoencoder() -> Any:
    """The architecture of Stable Diffusion's: group normalisation, attention in the middle. Narrow and untrained."""
    torch.manual_seed(0)
    network: Any = AutoencoderKL(  # type: ignore[no-untyped-call]
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
        layers_per_block=1,
    )
    return network.eval()


def smooth(height: int, width: int) -> Array:
    """Latents like a picture's: large areas of one kind, so that each tile has other statistics than the whole."""
    rng = np.random.default_rng(5)
    coarse = rng.standard_normal((1, 4, 4, 4), np.float32)
    sized = torch.nn.functional.interpolate(torch.from_numpy(coarse), (height, width), mode="bicubic")
    return (sized.numpy() + 0.3 * rng.standard_normal((1, 4, height, width))).astype(np.float32)


@settings(max_examples=30)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 40))
def test_tiles_cover_the_picture_and_their_weights_sum_to_one(height: int, width: int, side: int) -> None:
    latents = np.random.default_rng(height * 100 + width).standard_normal((1, 4, height, width), np.float32)
    assert np.allclose(decode_tiled(enlarged, latents, side, SCALE), enlarged(latents), atol=1e-5)


@given(st.integers(1, 90), st.integers(8, 40))
def test_every_tile_has_one_size_and_neighbours_share_a_quarter(length: int, side: int) -> None:
    spans = tiles._spans(length, side)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert {end - begin for begin, end in spans} == {min(side, length)}
    assert all(one[1] - other[0] >= int(side * tiles.OVERLAP) for one, other in pairwise(spans))


def test_what_fits_is_decoded_as_it_is() -> None:
    latents = smooth(16, 12)
    assert decode_tiled(lambda given: given, latents, 16, SCALE) is latents


def test_no_seam_is_seen_with_a_decoder_that_looks_at_the_whole_picture(autoencoder: Any) -> None:
    def decode(latents: Array) -> Array:
        with torch.inference_mode():
            image: Array = autoencoder.decode(torch.from_numpy(latents), return_dict=False)[0].numpy()
            return image

    latents = smooth(64, 48)
    whole = decode(latents)[0]
    tiled = decode_tiled(decode, latents, 32, SCALE)[0]
    span = float(whole.max() - whole.min())
    psnr = 20 * np.log10(span / np.sqrt(np.mean((whole - tiled) ** 2)))
    print(f"PSNR {psnr:.1f} dB")
    assert psnr > PSNR
    steps = np.abs(np.diff(tiled, axis=1)).mean(axis=(0, 2))
    edges = [edge * SCALE - 1 for begin, end in tiles._spans(64, 32) for edge in (begin, end) if 0 < edge < 64]
    assert max(steps[edges]) < SEAM * np.median(steps)


def test_the_side_follows_the_budget() -> None:
    assert side_within(512 * 512 * BYTES_PER_PIXEL, SCALE) == 64
    assert side_within(1, SCALE) == SMALLEST
