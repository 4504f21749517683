"""From a scene to its picture: things cut out, coloured, dressed and set on a background.

Positions and sizes are shares of the picture's side. A scene and its number give the same pixels every time.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.corpus.library import Library, Pixels
from training.corpus.scenes import Part, Scene, can_be_painted
from training.run import Run

RGB = tuple[int, int, int]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Spot:
    """Where one thing goes: its centre, and the longer side of what is visible of it."""

    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Ground:
    """A background: colours from the top to the horizon, from there to the bottom, and things that stand on it."""

    above: tuple[RGB, RGB]
    below: tuple[RGB, RGB]
    horizon: float
    stamps: tuple[str, ...] = ()  # ids of things in a row
    heights: tuple[float, float] | None = None  # of those that hang; the others stand on the horizon
    stars: int = 0


_DAY: tuple[RGB, RGB] = ((120, 190, 250), (214, 238, 255))
GROUNDS: dict[str, Ground] = {
    "beach": Ground(_DAY, ((246, 222, 165), (236, 200, 130)), 0.62),
    "sea": Ground(_DAY, ((60, 150, 220), (25, 85, 165)), 0.5),
    "snow": Ground(((190, 210, 230), (232, 240, 248)), ((250, 252, 255), (222, 232, 244)), 0.58),
    "desert": Ground(((250, 200, 120), (255, 232, 190)), ((232, 170, 90), (200, 130, 60)), 0.6),
    "grass": Ground(_DAY, ((130, 200, 90), (80, 160, 60)), 0.58),
    "forest": Ground(((160, 205, 190), (205, 232, 210)), ((90, 140, 70), (60, 105, 50)), 0.6, ("1f332",) * 5),
    "night": Ground(((14, 18, 52), (38, 46, 98)), ((30, 44, 50), (20, 30, 36)), 0.68, stars=22),
    "space": Ground(((10, 8, 28), (24, 14, 52)), ((24, 14, 52), (10, 8, 28)), 0.6, stars=44),
    "sunset": Ground(((110, 70, 150), (255, 150, 80)), ((120, 60, 80), (70, 36, 62)), 0.62),
    "city": Ground(((150, 195, 235), (222, 234, 245)), ((140, 142, 150), (95, 97, 106)), 0.66, ("1f3e2",) * 5),
    "sky": Ground(
        ((70, 160, 245), (150, 208, 255)), ((150, 208, 255), (205, 234, 255)), 0.6, ("2601-fe0f",) * 3, (0.15, 0.75)
    ),
    "mountains": Ground(_DAY, ((130, 180, 100), (90, 140, 70)), 0.62, ("26f0-fe0f",) * 3),
}
_DRESS = {"sunglasses": ("1f576-fe0f", 0.66, 0.47), "hat": ("1f3a9", 0.62, 0.13), "crown": ("1f451", 0.5, 0.12)}


class Painter:
    """Paints scenes of one library at the run's size."""

    def __init__(self, run: Run, library: Library) -> None:
        self.run, self.library, self.size = run, library, run.data.size
        self._boxes = [_visible(picture) for picture in library.pictures]

    def paint(self, scene: Scene, index: int) -> Pixels:
        """The picture of scene number ``index``: uint8 ``[S, S, 3]``."""
        rng = np.random.default_rng([self.run.seed, 13, index])
        canvas = self._background(scene, rng)
        single = len(scene.parts) == 1 and scene.parts[0].count == 1
        if single and scene.place is None:
            self._alone(canvas, scene.parts[0], rng)
        else:
            order = list(zip(scene.parts, spots(scene, rng), strict=True))
            for part, places in reversed(order):  # the second part stands behind the first
                for row, spot in zip(part.pictures, places, strict=True):
                    self._set(canvas, self._cut_out(part, row), spot, mirrored=bool(rng.random() < 0.5))
        return np.asarray(canvas.convert("RGB"), np.uint8)

    def _alone(self, canvas: Image.Image, part: Part, rng: np.random.Generator) -> None:
        """One thing with the margins that its maker gave it, now and then a little smaller or aside."""
        picture = self._dressed(self._coloured(part, part.pictures[0]), part)
        scale = 1.0 if rng.random() < 0.4 else float(rng.uniform(0.84, 1.0))
        side = round(self.size * scale)
        free = self.size - side
        left, top = (int(rng.integers(0, free + 1)) for _ in range(2))
        canvas.alpha_composite(_resized(picture, side, side), (left, top))

    def _set(self, canvas: Image.Image, picture: Image.Image, spot: Spot, mirrored: bool) -> None:
        """One cut-out thing at its spot."""
        if mirrored:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        factor = spot.size * self.size / max(picture.size)
        width, height = (max(1, round(side * factor)) for side in picture.size)
        place = Image.new("RGBA", canvas.size)
        place.paste(_resized(picture, width, height), self._corner(spot, width, height))
        canvas.alpha_composite(place)

    def _corner(self, spot: Spot, width: int, height: int) -> tuple[int, int]:
        return round(spot.x * self.size - width / 2), round(spot.y * self.size - height / 2)

    def _cut_out(self, part: Part, row: int) -> Image.Image:
        """The thing without its transparent margins."""
        picture = self._dressed(self._coloured(part, row), part)
        return picture.crop(self._boxes[row]) if part.extra is None else picture

    def _coloured(self, part: Part, row: int) -> Image.Image:
        pixels = self.library.pictures[row]
        thing = self.library.things[part.thing]
        if part.colour is not None and can_be_painted(thing):
            pixels = recoloured(pixels, self.run.colours[part.colour].rgb[0])
        return Image.fromarray(pixels, "RGBA")

    def _dressed(self, picture: Image.Image, part: Part) -> Image.Image:
        """The face with what it wears; under a hat or a crown it makes room."""
        if part.extra is None:
            return picture
        stem, width, height = _DRESS[part.extra]
        worn = Image.fromarray(self.library.pictures[self.library.things[stem].pictures[0]], "RGBA")
        worn = worn.crop(_visible(np.asarray(worn)))
        side = picture.width
        result = Image.new("RGBA", picture.size)
        if part.extra == "sunglasses":
            result.alpha_composite(picture)
        else:
            smaller = round(0.8 * side)
            result.alpha_composite(_resized(picture, smaller, smaller), ((side - smaller) // 2, side - smaller))
        wide = round(width * side)
        tall = round(wide * worn.height / worn.width)
        top = max(0, round(height * side - tall / 2)) if part.extra == "sunglasses" else 0
        result.alpha_composite(_resized(worn, wide, tall), ((side - wide) // 2, top))
        return result

    def _background(self, scene: Scene, rng: np.random.Generator) -> Image.Image:
        """White, one colour, or a place."""
        if scene.place is not None:
            return self._place(GROUNDS[scene.place], rng)
        colour: RGB = (255, 255, 255) if scene.backdrop is None else self.run.colours[scene.backdrop].rgb[0]
        return Image.new("RGBA", (self.size, self.size), (*colour, 255))

    def _place(self, ground: Ground, rng: np.random.Generator) -> Image.Image:
        horizon = ground.horizon + float(rng.uniform(-0.04, 0.04))
        rows = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size
        sky = _gradient(ground.above, rows / horizon)
        floor = _gradient(ground.below, (rows - horizon) / (1 - horizon))
        column = np.where((rows < horizon)[:, None], sky, floor)
        pixels = np.repeat(column[:, None], self.size, axis=1)
        for x, y in rng.random((ground.stars, 2)):
            pixels[int(y * horizon * self.size), int(x * self.size)] = 235
        canvas = Image.fromarray(np.round(pixels).astype(np.uint8), "RGB").convert("RGBA")
        for i, stem in enumerate(ground.stamps):
            spot = self._stamp_spot(ground, i, horizon, rng)
            row = self.library.things[stem].pictures[0]
            self._set(canvas, Image.fromarray(self.library.pictures[row], "RGBA").crop(self._boxes[row]), spot, False)
        return canvas

    def _stamp_spot(self, ground: Ground, i: int, horizon: float, rng: np.random.Generator) -> Spot:
        count = len(ground.stamps)
        x = (i + 0.5) / count + float(rng.uniform(-0.06, 0.06))
        size = float(rng.uniform(0.3, 0.42))
        high = horizon - 0.4 * size if ground.heights is None else rng.uniform(*ground.heights)
        return Spot(x, float(high), size)


def spots(scene: Scene, rng: np.random.Generator) -> list[list[Spot]]:
    """Where each part's things go."""
    down = 0.06 if scene.place is not None else 0.0
    counts = [part.count for part in scene.parts]
    if len(counts) == 1:
        made = [_one(rng)] if counts[0] == 1 else _several(counts[0], rng)
        return [[_moved(spot, rng, down) for spot in made]]
    first, second = _related(scene.relation or "beside", counts[0], rng)
    return [[_moved(spot, rng, down) for spot in first], [_moved(second, rng, down)]]


def _one(rng: np.random.Generator) -> Spot:
    return Spot(0.5 + float(rng.uniform(-0.12, 0.12)), 0.56, float(rng.uniform(0.5, 0.68)))


def _several(count: int, rng: np.random.Generator) -> list[Spot]:
    """Two side by side, three in a row or a triangle, four in a square."""
    if count == 2:
        return [Spot(0.26, 0.52, 0.46), Spot(0.74, 0.52, 0.46)]
    if count == 3 and rng.random() < 0.5:
        return [Spot(x, 0.52, 0.32) for x in (0.18, 0.5, 0.82)]
    if count == 3:
        return [Spot(0.5, 0.28, 0.42), Spot(0.27, 0.73, 0.42), Spot(0.73, 0.73, 0.42)]
    return [Spot(x, y, 0.42) for y in (0.28, 0.74) for x in (0.27, 0.73)]


def _related(relation: str, count: int, rng: np.random.Generator) -> tuple[list[Spot], Spot]:
    """The first part's spots, and the second's."""
    aside = float(rng.uniform(-0.1, 0.1))
    if relation in ("beside", "left"):
        left = relation == "left" or rng.random() < 0.5
        near, far = (0.26, 0.75) if left else (0.74, 0.25)
        return _row(count, near, 0.55, 0.46, 0.4), Spot(far, 0.53, 0.48)
    if relation == "on":
        return _row(count, 0.5 + aside, 0.27, 0.42, 0.6), Spot(0.5, 0.68, 0.72)
    if relation == "under":
        return _row(count, 0.5 + aside, 0.76, 0.42, 0.7), Spot(0.5, 0.27, 0.56)
    if relation == "over":
        return _row(count, 0.5 + aside, 0.2, 0.34, 0.7), Spot(0.5, 0.7, 0.54)
    return _row(count, 0.5 + aside, 0.76, 0.42, 0.7), Spot(0.5, 0.4, 0.72)


def _row(count: int, x: float, y: float, size: float, width: float) -> list[Spot]:
    """``count`` of them around ``x``, ``width`` wide together."""
    if count == 1:
        return [Spot(x, y, size)]
    step = width / count
    return [Spot(x + (i - (count - 1) / 2) * step, y, min(size, 1.25 * step)) for i in range(count)]


def _moved(spot: Spot, rng: np.random.Generator, down: float) -> Spot:
    dx, dy = rng.uniform(-0.025, 0.025, 2)
    return Spot(spot.x + float(dx), spot.y + down * 0.5 + float(dy), spot.size * float(rng.uniform(0.9, 1.05)))


def recoloured(rgba: Pixels, colour: RGB) -> Pixels:
    """The picture with its main hue moved to ``colour``; shading, and what has another hue, stay as they are."""
    hsv = np.asarray(Image.fromarray(rgba[..., :3], "RGB").convert("HSV"), np.float32)
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    bright = (rgba[..., 3] > 128) & (saturation > 70) & (value > 50)
    if not bright.any():
        return rgba
    main = float(np.bincount(hue[bright].astype(np.int64), minlength=256).argmax())
    near = (np.abs((hue - main + 128) % 256 - 128) < 22) & (saturation > 40)
    chosen = near & bright
    h, s, v = (255 * part for part in colorsys.rgb_to_hsv(*(channel / 255 for channel in colour)))
    changed = np.stack(
        [
            (hue - main) * 0.4 + h,
            saturation * s / max(1.0, float(np.median(saturation[chosen]))),
            value * v / max(1.0, float(np.median(value[chosen]))),
        ],
        axis=-1,
    )
    changed[..., 0] %= 256
    mixed = np.where(near[..., None], np.clip(changed, 0, 255), hsv).astype(np.uint8)
    rgb = np.asarray(Image.fromarray(mixed, "HSV").convert("RGB"), np.uint8)
    return np.concatenate([rgb, rgba[..., 3:]], axis=-1)


def _resized(picture: Image.Image, width: int, height: int) -> Image.Image:
    if picture.size == (width, height):
        return picture
    return picture.convert("RGBa").resize((width, height), Image.Resampling.BICUBIC).convert("RGBA")


def _visible(rgba: Pixels) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is not transparent."""
    rows, columns = (np.flatnonzero((rgba[..., 3] > 16).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return (0, 0, rgba.shape[1], rgba.shape[0])
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _gradient(ends: Sequence[RGB], share: Floats) -> Floats:
    """Colours ``[n, 3]`` between two ends."""
    first, last = (np.array(end, np.float32) for end in ends)
    part = np.clip(share, 0, 1)[:, None]
    mixed: Floats = first + (last - first) * part
    return mixed
