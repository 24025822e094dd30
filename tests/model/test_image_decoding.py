"""Pictures of every kind come out upright and in RGB."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import PIL.Image
import pytest
from drawn_pictures import SIZE, drawing, encoded, exif, pixels, transparent, turned
from PIL import ImageCms

from parrot.data.images import decode, decode_within, image_header
from parrot.data.rejects import Rejected
from parrot.model.image_decoding import decode_image, upright_rgb


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF"])
def test_ordinary_pictures_are_what_pillow_makes_of_them(format_: str) -> None:
    content = encoded(drawing(), format_)
    expected = PIL.Image.open(io.BytesIO(content)).convert("RGB")
    assert (pixels(decode(content)) == pixels(expected)).all()
    assert image_header(content) == (*SIZE, format_)
    assert decode_within(content, 1).size == SIZE


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_pictures_are_turned_upright_once(format_: str, orientation: int) -> None:
    lossless = {"lossless": True} if format_ == "WEBP" else {}
    content = encoded(turned(orientation), format_, exif=exif(orientation), **lossless)
    upright = decode(content)
    close = 0 if format_ in ("PNG", "TIFF", "WEBP") else 60  # JPEG and AVIF lose something
    assert abs(pixels(upright) - pixels(drawing())).max() <= close
    assert pixels(upright_rgb(upright)).tolist() == pixels(upright).tolist()
    opened = PIL.Image.open(io.BytesIO(content))
    assert pixels(upright_rgb(opened)).tolist() == pixels(upright).tolist()
    assert decode_within(content, 1).size == image_header(content)[:2] == SIZE


def test_orientation_behind_the_pixels_of_a_png() -> None:
    content = encoded(turned(6), exif=exif(6))
    at = content.index(b"eXIf") - 4
    length = 12 + struct.unpack(">I", content[at : at + 4])[0]
    chunk, end = content[at : at + length], content.index(b"IEND") - 4
    late = content[:at] + content[at + length : end] + chunk + content[end:]
    assert pixels(decode(late)).tolist() == pixels(drawing()).tolist()
    assert decode_within(late, 1).size == SIZE


WORD = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04six\0\0\0\0\0"
"""An orientation that is a word."""


@pytest.mark.parametrize("tags", [exif(9), exif(0), WORD, b"Exif\0\0II*\0\xff\xff\xff\xff", b"none"])
def test_broken_orientations_change_nothing(tags: Any) -> None:
    content = encoded(drawing(), "JPEG", exif=tags)
    expected = PIL.Image.open(io.BytesIO(content)).convert("RGB")
    assert pixels(decode(content)).tolist() == pixels(expected).tolist()


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_scaled(format_: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    grey = pixels(decode(encoded(PIL.Image.fromarray(ramp), format_)))
    assert (grey == (ramp // 256)[..., None]).all()
    assert grey.min() == 0
    assert grey.max() == 255


def test_grey_of_16_bits_in_big_endian_and_wide_integers() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    big = PIL.Image.frombytes("I;16B", (16, 16), ramp.astype(">u2").tobytes())
    wide = PIL.Image.fromarray(ramp.astype(np.int32))
    assert (pixels(upright_rgb(big)) == (ramp // 256)[..., None]).all()
    assert (pixels(upright_rgb(wide)) == (ramp // 256)[..., None]).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.linspace(0, 1, 64, dtype=np.float32), r"floating-point values \(mode F\)"),
        (np.linspace(0, 2**20, 64).astype(np.int32), r"values from 0 to 1048576 \(mode I\)"),
        (np.linspace(-9, 9, 64).astype(np.int32), r"values from -9 to 9 \(mode I\)"),
    ],
)
def test_values_without_a_known_range_are_refused_by_name(values: np.ndarray, reason: str) -> None:
    content = encoded(PIL.Image.fromarray(values.reshape(8, 8)), "TIFF")
    with pytest.raises(Rejected, match=f"unreadable image: {reason}.* save it with 8 or 16 bits"):
        decode_within(content, 1)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
@pytest.mark.parametrize(("background", "colour"), [("white", (255, 255, 255)), ("#ff8000", (255, 128, 0))])
def test_what_is_transparent_lies_on_the_background(
    mode: str, background: str, colour: tuple[int, ...]
) -> None:
    found = pixels(decode_image(transparent(mode), background))
    assert (found[:, : SIZE[0] // 2] == 0).all()
    assert (found[:, SIZE[0] // 2 :] == colour).all()


def png(depth: int, colour_type: int, rows: bytes, **chunks: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 2, 1, depth, colour_type, 0, 0, 0)
    others = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + others
        + chunk(b"IDAT", zlib.compress(b"\0" + rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("depth", "colour_type", "rows", "key"),
    [
        (1, 0, b"\x40", b"\0\0"),
        (2, 0, b"\x00\x30"[1:], b"\0\0"),
        (2, 0, b"\xc0", b"\0\3"),
        (4, 0, b"\xf0", b"\0\x0f"),
        (8, 0, b"\x80\0", b"\0\x80"),
        (16, 0, b"\x80\x01\0\0", b"\x80\x01"),
        (8, 2, b"\1\2\3\0\0\0", b"\0\1\0\2\0\3"),
        (16, 2, b"\1\2\3\4\5\6\0\0\0\0\0\0", b"\1\2\3\4\5\6"),
    ],
)
def test_the_transparent_colour_of_a_png(depth: int, colour_type: int, rows: bytes, key: bytes) -> None:
    found = pixels(decode(png(depth, colour_type, rows, tRNS=key)))
    assert found[0, 0].tolist() == [255, 255, 255]
    first_only = depth == 1 or rows == b"\x30"
    assert found[0, 1].tolist() == ([255, 255, 255] if first_only else [0, 0, 0])


def test_an_opaque_alpha_channel_changes_nothing() -> None:
    ways = {"RGBA": ["RGBA"], "LA": ["L", "LA"], "PA": ["P", "PA"], "RGBa": ["RGBA", "RGBa"]}
    for mode, conversions in ways.items():
        image = drawing()
        for conversion in conversions:
            image = image.convert(conversion)
        assert (pixels(upright_rgb(image)) == pixels(image.convert("RGB"))).all(), mode


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_printing_colours_are_not_inverted(format_: str) -> None:
    colours = [(255, 0, 0), (0, 0, 0), (255, 255, 255), (0, 200, 0)]
    for colour in colours:
        content = encoded(PIL.Image.new("RGB", SIZE, colour).convert("CMYK"), format_)
        assert abs(pixels(decode(content)) - colour).max() <= 3


def test_lab() -> None:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    content = encoded(ImageCms.applyTransform(drawing(), to_lab), "TIFF")
    assert abs(pixels(decode(content)) - pixels(drawing())).mean() < 4


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"])
def test_the_first_picture_of_several(format_: str) -> None:
    first, second = (PIL.Image.new("RGB", SIZE, colour) for colour in ("#c03010", "#0000ff"))
    content = encoded(first, format_, save_all=True, append_images=[second])
    assert abs(pixels(decode(content)) - (0xC0, 0x30, 0x10)).max() <= 8
