"""Pictures that people send, to start from or to say where to draw: read once at the door, and plain from then on.

A file from outside meets a decoder here and nowhere else. What is kept is netpbm, a short header and the bare pixels:
the engine decodes no stranger's file, and equal pixels have one name, the sha256 of the plain file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from appliance.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 10 << 20  # of a file that is sent
MAX_PIXELS = 24_000_000  # that are ever unpacked; a larger JPEG is read at a half, a quarter or an eighth of its size
MAX_SIDE = 30_000
MAX_SCANS = 64  # of a progressive JPEG: each costs a pass over the whole picture and may be a few bytes long
NAME = re.compile(r"[0-9a-f]{64}")
_ORIENTATION = 0x0112  # the tag of EXIF: how the camera was held
_ON_ITS_SIDE = (5, 6, 7, 8)
_FORMATS = ("PNG", "JPEG", "WEBP")
_UNREADABLE = "The {what} cannot be read: send a whole PNG, JPEG or WebP file."
_one_at_a_time = threading.Lock()  # unpacked pictures are large, and a box is small


@dataclass(frozen=True, slots=True)
class Picture:
    """A plain picture, known by its name. `file` is netpbm (P6 colours, P5 a mask), and empty where only told of."""

    sha256: str
    file: bytes = field(default=b"", compare=False, repr=False)

    @classmethod
    def of(cls, file: bytes) -> Picture:
        """Name a plain file."""
        return cls(hashlib.sha256(file).hexdigest(), file)


@dataclass(frozen=True)
class Sent:
    """A file from outside, opened: upright, 8 bits a channel; `size` is the (width, height) that its sender knows."""

    image: Image
    size: tuple[int, int]


def read(value: Any, what: str) -> Sent | bytes:
    """Open what was sent: a file's bytes, or base64 of them (a data: address too). Plain netpbm comes back as it is.

    `what` names it in sentences ("image"). Raises `BadInput`.
    """
    data = _bytes(value, what)
    if len(data) > MAX_BYTES:
        raise BadInput(f"The {what} has more than {MAX_BYTES >> 20} MiB: send a smaller file.")
    if data[:3] in (b"P5\n", b"P6\n"):
        return data
    with _decoding(what):
        return _opened(data, what)


def colours(sent: Sent | bytes, size: tuple[int, int]) -> Picture:
    """The picture at `size` (width, height): scaled until it covers it, the rest cut off evenly; on white."""
    if isinstance(sent, bytes):
        return _plain(sent, b"P6", size, 3, "image")
    from PIL import Image, ImageOps

    with _decoding("image"):
        image = sent.image
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        fitted = ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS)
        return Picture.of(_header(b"P6", size) + fitted.tobytes())


def mask(sent: Sent | bytes, size: tuple[int, int]) -> Picture:
    """Where to draw anew, 255, and what to keep, 0, at `size`: the transparent parts, or without any the white ones.

    Raises `BadInput` when nothing is to be drawn.
    """
    if isinstance(sent, bytes):
        return _plain(sent, b"P5", size, 1, "mask")
    from PIL import Image, ImageChops, ImageOps

    with _decoding("mask"):
        chosen = sent.image.convert("L")
        opacity = _opacity(sent.image)
        if opacity is not None:
            chosen = ImageChops.invert(opacity)
        fitted = ImageOps.fit(chosen, size, Image.Resampling.BILINEAR)
        clear = fitted.point([0] * 128 + [255] * 128)
        if clear.getbbox() is None:
            raise BadInput("The mask leaves nothing to draw: make white or transparent what should be drawn anew.")
        return Picture.of(_header(b"P5", size) + clear.tobytes())


def shows_through(value: Any) -> bool:
    """Whether what was sent as an image has parts that are more transparent than not. Raises `BadInput`."""
    sent = read(value, "image")
    if isinstance(sent, bytes):
        return False
    with _decoding("image"):
        opacity = _opacity(sent.image)
        return opacity is not None and any(opacity.histogram()[:128])


def size_of(sent: Sent | bytes) -> tuple[int, int] | None:
    """(width, height) as its sender knows it; None for what is plain already."""
    return None if isinstance(sent, bytes) else sent.size


def pixels_of(file: bytes) -> tuple[int, int, bytes]:
    """A plain file's width, height and pixels."""
    _, size, _, pixels = file.split(b"\n", 3)
    width, height = size.split(b" ")
    return int(width), int(height), pixels


def _opacity(image: Image) -> Image | None:
    """The alpha channel, if there is one and not all of it is opaque."""
    if not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.histogram()[255] == alpha.width * alpha.height else alpha


def _bytes(value: Any, what: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise BadInput(f"The {what} must be a file's bytes in base64.")
    if len(value) > MAX_BYTES * 4 // 3 + 100:
        raise BadInput(f"The {what} has more than {MAX_BYTES >> 20} MiB: send a smaller file.")
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput(f"The {what} is not base64: send a PNG, JPEG or WebP file's bytes in base64.") from None


def _opened(data: bytes, what: str) -> Sent:
    from PIL import Image, ImageOps

    image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    width, height = image.size
    if image.format == "JPEG":
        if data.count(b"\xff\xda") > MAX_SCANS:
            raise BadInput(f"The {what} is a JPEG of too many scans: save it again, not progressive.")
        image.draft(None, (2048, 2048))
    if max(width, height) > MAX_SIDE or image.size[0] * image.size[1] > MAX_PIXELS:
        raise BadInput(f"The {what} has too many pixels ({width}x{height}): make it smaller, then send it again.")
    turned = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
    upright = ImageOps.exif_transpose(_eight_bits(image))
    return Sent(upright, (height, width) if turned else (width, height))


def _eight_bits(image: Image) -> Image:
    """16-bit greys would be cut at 255, not scaled."""
    if not image.mode.startswith(("I", "F")):
        return image
    return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")


def _plain(file: bytes, kind: bytes, size: tuple[int, int], channels: int, what: str) -> Picture:
    """A plain file as this module wrote it, of just this size."""
    header = _header(kind, size)
    if not file.startswith(header) or len(file) != len(header) + size[0] * size[1] * channels:
        raise BadInput(_UNREADABLE.format(what=what))
    return Picture.of(file)


def _header(kind: bytes, size: tuple[int, int]) -> bytes:
    return b"%s\n%d %d\n255\n" % (kind, *size)


@contextmanager
def _decoding(what: str) -> Iterator[None]:
    """Whatever a decoder says of a damaged file is one sentence here."""
    with _one_at_a_time:
        try:
            yield
        except BadInput:
            raise
        except Exception as error:  # Pillow raises a dozen kinds
            raise BadInput(_UNREADABLE.format(what=what)) from error
