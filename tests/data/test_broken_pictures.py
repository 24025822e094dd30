"""Broken and hostile pictures, each beside good ones: rejected by name, never replaced, never a bomb."""

import base64
import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest
from checked import kinds_at, look_through, write_records
from small_sources import conversation, picture

from parrot.data import images
from parrot.data.images import decode_within
from parrot.data.rejects import Rejected


def encoded(format_: str, mode: str = "RGB", size: tuple[int, int] = (40, 40), **options: object) -> bytes:
    file = io.BytesIO()
    PIL.Image.new(mode, size).save(file, format_, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int = 8, colour: int = 2, rows: bytes = bytes(1000)) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def gif(frames: int) -> bytes:
    """A GIF of so many equal frames, made by repeating one."""
    one = encoded("GIF", "P")
    body, end = one[:-1], one[-1:]
    descriptor = body.index(b"\x2c", 13 + 3 * 2 ** ((one[10] & 7) + 1))
    return body[:descriptor] + body[descriptor:] * frames + end


JPEG, PNG = picture(1), encoded("PNG")
REJECTED: dict[str, tuple[bytes, str]] = {
    "zero bytes": (b"", "unreadable image"),
    "zeros": (bytes(5000), "unreadable image"),
    "a web page": (b"<!doctype html><html><body>403</body></html>", "unreadable image"),
    "an XML error of a server": (b'<?xml version="1.0"?><Error><Code>No</Code></Error>', "unreadable image"),
    "a JSON error of a server": (b'{"error": "not found"}', "unreadable image"),
    "a drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unreadable image"),
    "a text": (b"no picture", "unreadable image"),
    "a picture in base64": (base64.b64encode(JPEG), "unreadable image"),
    "a PDF": (b"%PDF-1.7\n", "unreadable image"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "unreadable image"),
    "a video": (b"\0\0\0\x18ftypmp42" + bytes(100), "unreadable image"),
    "a HEIC picture": (b"\0\0\0\x18ftypheic" + bytes(100), "unreadable image"),
    "an icon": (b"\0\0\1\0\1\0" + bytes(100), "unreadable image"),
    "a zip archive": (b"PK\3\4" + bytes(100), "unreadable image"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "unreadable image"),
    "a JPEG that ends early": (encoded("JPEG", size=(200, 200))[:700], "unreadable image"),
    "a PNG that ends early": (PNG[:60], "unreadable image"),
    "a GIF that ends early": (encoded("GIF", "P")[:30], "unreadable image"),
    "a WebP that ends early": (encoded("WEBP", size=(200, 200))[:60], "unreadable image"),
    "a header and nothing else": (JPEG[:20], "unreadable image"),
    "a PNG with a wrong checksum": (PNG[:20] + b"\xff" + PNG[21:], "unreadable image"),
    "a PNG of no width": (png(0, 10), "unreadable image"),
    "a PNG of a depth that is none": (png(10, 10, depth=7), "unreadable image"),
    "a bomb of 500 megapixels": (png(22_362, 22_362), "unreadable image"),
    "a bomb of 81 megapixels": (png(9_000, 9_000), "image too large"),
    "one pixel too high": (encoded("PNG", size=(8, 2001)), "image too large"),
    "one pixel": (encoded("PNG", size=(1, 1)), "image too small"),
    "numbers without a range": (encoded("TIFF", "F"), "unreadable image"),
}  # fmt: skip


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_no_picture_to_train_on_is_rejected_by_name(name: str, tmp_path: Path) -> None:
    content, reason = REJECTED[name]
    path = write_records(tmp_path, conversation(1), {"1.jpg": content})
    read, broken = look_through(path, tmp_path / "images.zip")
    assert (read, kinds_at(broken)) == (3, [(1, "image", reason)])


TAKEN: dict[str, Callable[[], bytes]] = {
    "a GIF of 10,000 frames": lambda: gif(10_000),
    "an animated WebP": lambda: encoded(
        "WEBP", save_all=True, append_images=[PIL.Image.new("RGB", (40, 40), "red")] * 5
    ),
    "bytes behind the end": lambda: PNG + b"<?php ?>" * 100,
    "a CMYK JPEG": lambda: encoded("JPEG", "CMYK"),
    "grey of 16 bits": lambda: encoded("PNG", "I;16"),
    "a palette": lambda: encoded("PNG", "P"),
    "one bit": lambda: encoded("PNG", "1"),
    "a progressive JPEG": lambda: encoded("JPEG", progressive=True),
}


@pytest.mark.parametrize("name", TAKEN)
def test_unusual_pictures_are_taken(name: str, tmp_path: Path) -> None:
    path = write_records(tmp_path, conversation(1), {"1.jpg": TAKEN[name]()})
    assert look_through(path, tmp_path / "images.zip") == (3, [])


def test_a_picture_that_takes_too_long_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a JPEG of very many scans does."""
    monkeypatch.setattr(images, "MAX_DECODE_SECONDS", 0.05)
    load = PIL.Image.Image.load

    def slow(image: PIL.Image.Image) -> object:
        for _ in range(1000):
            time.sleep(0.01)
        return load(image)

    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", slow)
    with pytest.raises(Rejected, match=r"unreadable image: decoding it takes more than 0\.05 seconds"):
        decode_within(JPEG, 1)
    assert decode_within(PNG, 1).size == (40, 40)
