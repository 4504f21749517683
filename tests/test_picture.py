"""Whatever file a stranger sends is a plain picture of the size asked for, or one sentence."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from appliance import picture
from appliance.errors import BadInput
from appliance.picture import MAX_BYTES, Picture

SIZE = (64, 48)
FORMATS = ["PNG", "JPEG", "WEBP"]


def painting(size: tuple[int, int] = (96, 72), mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right, a white disc in the middle."""
    image = Image.new("RGB", size, "red")
    draw = ImageDraw.Draw(image)
    draw.rectangle((size[0] // 2, 0, size[0], size[1]), fill="blue")
    draw.ellipse((size[0] // 2 - 8, size[1] // 2 - 8, size[0] // 2 + 8, size[1] // 2 + 8), fill="white")
    return image.convert(mode)


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colours(sent: Any, size: tuple[int, int] = SIZE) -> Picture:
    return picture.colours(picture.read(sent, "image"), size)


def mask(sent: Any, size: tuple[int, int] = SIZE) -> Picture:
    return picture.mask(picture.read(sent, "mask"), size)


def image_of(plain: Picture) -> Image.Image:
    return Image.open(io.BytesIO(plain.file))


def refused(sent: Any) -> str:
    with pytest.raises(BadInput) as caught:
        colours(sent)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert sentence.count("\n") == 0
    return sentence


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", mode) for mode in ("RGB", "L", "P", "RGBA", "LA", "1", "I;16")]
    + [("JPEG", mode) for mode in ("RGB", "L", "CMYK")]
    + [("WEBP", mode) for mode in ("RGB", "RGBA")],
)
def test_every_common_kind_of_file_is_read(kind: str, mode: str) -> None:
    source = painting(mode="L" if mode == "I;16" else mode)
    if mode == "I;16":
        source = source.convert("I").point(lambda value: value * 257).convert("I;16")
    plain = image_of(colours(file(source, kind)))
    assert (plain.size, plain.mode, plain.format) == (SIZE, "RGB", "PPM")
    centre, left = (plain.getpixel(at) for at in ((32, 24), (4, 24)))
    assert min(centre) > 200  # type: ignore[arg-type]
    assert left[0] < 240 or mode not in ("L", "I;16")  # type: ignore[index]


def test_equal_pixels_have_one_name_whatever_the_file() -> None:
    image = painting(SIZE)
    one, other = colours(file(image)), colours(file(image, "WEBP", lossless=True))
    assert one == other
    assert one.sha256 == hashlib.sha256(one.file).hexdigest()
    assert one.file == b"P6\n64 48\n255\n" + image.tobytes()
    assert colours(one.file) == one  # plain files are read again as they are
    assert colours(base64.b64encode(file(image)).decode()) == one
    assert colours("data:image/png;base64," + base64.b64encode(file(image)).decode()) == one


def test_it_covers_the_size_and_what_stands_out_is_cut_off_evenly() -> None:
    image = Image.new("RGB", (300, 100), "green")
    image.paste("red", (100, 0, 200, 100))
    square = image_of(colours(file(image), (50, 50)))
    assert {square.getpixel((x, y)) for x in range(3, 47) for y in (0, 25, 49)} == {(255, 0, 0)}


def test_a_photo_stands_as_it_was_taken() -> None:
    upright = Image.new("RGB", (60, 90), "red")
    upright.paste("blue", (0, 45, 60, 90))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the file lies on its side
    sent = picture.read(file(upright.rotate(90, expand=True), "JPEG", exif=exif), "image")
    assert picture.size_of(sent) == (60, 90)
    plain = image_of(picture.colours(sent, (40, 60)))
    assert plain.getpixel((20, 5))[0] > 200  # type: ignore[index]
    assert plain.getpixel((20, 55))[2] > 200  # type: ignore[index]


def test_what_is_transparent_lies_on_white() -> None:
    clear = image_of(colours(file(Image.new("RGBA", (10, 10), (255, 0, 0, 0)))))
    assert clear.getpixel((0, 0)) == (255, 255, 255)


def test_a_mask_is_its_white_or_its_transparent_parts() -> None:
    white = Image.new("L", SIZE, 0)
    white.paste(255, (0, 0, 32, 48))
    clear = Image.new("RGBA", SIZE, (255, 255, 255, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 32, 48))
    assert mask(file(white)) == mask(file(clear)) == mask(file(white.convert("RGBA")))
    assert image_of(mask(file(white))).getcolors() == [(32 * 48, 0), (32 * 48, 255)]
    assert mask(mask(file(white)).file) == mask(file(white))


@pytest.mark.parametrize("nothing", [Image.new("L", SIZE, 0), Image.new("RGBA", SIZE, (0, 0, 0, 255))])
def test_a_mask_of_nothing_is_refused(nothing: Image.Image) -> None:
    with pytest.raises(BadInput, match="nothing to draw"):
        mask(file(nothing))


@pytest.mark.parametrize(("alpha", "shows"), [(0, True), (255, False), (200, False)])
def test_whether_it_shows_through(alpha: int, shows: bool) -> None:
    assert picture.shows_through(file(Image.new("RGBA", (8, 8), (0, 0, 0, alpha)))) is shows
    assert not picture.shows_through(file(Image.new("RGB", (8, 8))))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PDF", "PPM", "TGA"])
def test_other_kinds_of_files_meet_no_decoder(kind: str) -> None:
    assert "PNG, JPEG or WebP" in refused(file(painting(), kind))


@pytest.mark.parametrize(
    "sent", [b"", "", "no base64!", 7, None, ["x"], b"\x89PNG\r\n\x1a\n", "a" * 64, b"P6\n1 1\n255\n"]
)
def test_what_is_no_picture_is_refused(sent: Any) -> None:
    refused(sent)


def test_a_file_that_is_too_large_is_refused_before_it_is_opened() -> None:
    assert "10 MiB" in refused(b"x" * (MAX_BYTES + 1))
    assert "10 MiB" in refused("A" * (2 * MAX_BYTES))


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(5000, 5000), (40_000, 1), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (0, 0)])
def test_a_decompression_bomb_is_refused_by_what_it_says(size: tuple[int, int]) -> None:
    refused(bomb(*size))


def test_a_jpeg_of_many_passes_is_refused() -> None:
    sent = file(painting(), "JPEG", progressive=True)
    scan = sent.index(b"\xff\xda")
    assert "too many scans" in refused(sent[:scan] + sent[scan:-2] * 100 + sent[-2:])


def test_a_large_jpeg_is_read_at_a_part_of_its_size() -> None:
    sent = file(Image.new("RGB", (8000, 6000), "red"), "JPEG")
    opened = picture.read(sent, "image")
    assert not isinstance(opened, bytes)
    assert opened.size == (8000, 6000)
    assert opened.image.width < 8000
    assert image_of(picture.colours(opened, SIZE)).size == SIZE


GOOD = {kind: file(painting(), kind) for kind in FORMATS} | {"MASK": file(painting(mode="RGBA"))}


@given(data=st.data())
@settings(max_examples=300)
def test_no_damage_makes_it_stumble(data: st.DataObject) -> None:
    """Flipped, cut, doubled and spliced bytes: a picture of the right size or one sentence, and no other error."""
    sent = bytearray(GOOD[data.draw(st.sampled_from(sorted(GOOD)))])
    for _ in range(data.draw(st.integers(1, 8))):
        spot = data.draw(st.integers(0, len(sent) - 1))
        sent[spot] = data.draw(st.integers(0, 255))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(sent))] * 2)))
    damaged = data.draw(st.sampled_from([bytes(sent), bytes(sent[:end]), bytes(sent[:end] + sent[start:])]))
    for read in (colours, mask):
        with contextlib.suppress(BadInput):
            assert image_of(read(damaged)).size == SIZE


@given(sent=st.binary(max_size=200) | st.text(max_size=200) | st.integers() | st.none())
@settings(max_examples=100)
def test_no_value_makes_it_stumble(sent: Any) -> None:
    with pytest.raises(BadInput):
        colours(sent)
