"""Decoding a picture tile by tile, where decoding it whole would take more memory than there is.

Neighbouring tiles overlap and are blended by weights that sum to one, so that no seam is seen. A decoder that looks at
the whole picture (group normalisation, attention) gives each tile slightly other colours; the blend spreads the
difference over the overlap. So a tiled picture depends on the tile's side, and that on the memory for decoding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from appliance.pipeline.manifest import SMALLEST_TILE

Array = NDArray[np.float32]

BYTES_PER_PIXEL = 3200  # of the picture: Stable Diffusion's decoder in float32, by TensorRT's builder; others take less
OVERLAP = 0.25  # of a tile's side, at least, on each side that has a neighbour
SMALLEST = SMALLEST_TILE  # less shows a decoder too little of the picture


def side_within(budget: int, scale: int) -> int:
    """The largest tile, in latent pixels on a side, whose decoding takes at most `budget` bytes; never less than 16.

    `scale` is pixels per latent pixel.
    """
    return max(SMALLEST, int((budget / BYTES_PER_PIXEL) ** 0.5) // scale)


def decode_tiled(decode: Callable[[Array], Array], latents: Array, side: int, scale: int) -> Array:
    """(1, channels, h, w) latents → (1, colours, h*scale, w*scale), tiles being at most `side` x `side` latents.

    `decode` maps (1, channels, a, b) to (1, colours, a*scale, b*scale); every call has the same shape. What fits into
    one tile is decoded as it is.
    """
    height, width = latents.shape[2:]
    if max(height, width) <= side:
        return decode(latents)
    rows, columns = _spans(height, side), _spans(width, side)
    image: Array = np.empty(0, np.float32)
    for top, bottom in rows:
        for left, right in columns:
            tile = decode(np.ascontiguousarray(latents[:, :, top:bottom, left:right]))[0]
            if image.size == 0:
                image = np.zeros((len(tile), height * scale, width * scale), np.float32)
            weight = np.outer(_weights(rows, (top, bottom), scale), _weights(columns, (left, right), scale))
            image[:, top * scale : bottom * scale, left * scale : right * scale] += weight * tile
    return image[None]


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    """Equal spans that cover `length`, evenly spread, neighbours overlapping by a quarter or more."""
    if length <= side:
        return [(0, length)]
    stride = max(1, int(side * (1 - OVERLAP)))
    count = -(-(length - side) // stride) + 1
    starts = [round(index * (length - side) / (count - 1)) for index in range(count)]
    return [(start, start + side) for start in starts]


def _weights(spans: list[tuple[int, int]], span: tuple[int, int], scale: int) -> Array:
    """A span's weight at each of its pixels: a ramp at each end with a neighbour, over all spans' ramps."""
    own = _ramp(span, spans, scale)
    total = np.zeros_like(own)
    begin, end = span
    for other in spans:
        low, high = max(begin, other[0]), min(end, other[1])
        if low < high:
            theirs = _ramp(other, spans, scale)[(low - other[0]) * scale : (high - other[0]) * scale]
            total[(low - begin) * scale : (high - begin) * scale] += theirs
    weights: Array = (own / total).astype(np.float32)
    return weights


def _ramp(span: tuple[int, int], spans: list[tuple[int, int]], scale: int) -> Array:
    """1 in the middle, towards 0 over the overlap, half a pixel short of it: smooth (a raised cosine) at both ends."""
    length = (span[1] - span[0]) * scale
    overlap = max(1, int((span[1] - span[0]) * OVERLAP) * scale)
    rising = (1 - np.cos(np.pi * (np.arange(overlap) + 0.5) / overlap)) / 2
    ramp = np.ones(length, np.float32)
    if span != spans[0]:
        ramp[:overlap] = rising
    if span != spans[-1]:
        ramp[-overlap:] = np.minimum(ramp[-overlap:], rising[::-1])
    return ramp
