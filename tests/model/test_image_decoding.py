"""Pictures of every kind come out upright, in RGB, and the same wherever they go in."""

import base64
import http.server
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from PIL import ImageCms, features

from parrot.data.images import check_image, decode, image_header
from parrot.data.rejects import Rejected
from parrot.errors import ParrotError
from parrot.model.image_decoding import decode_image, upright_rgb
from parrot.model.image_kinds import kind_of_file
from parrot.model.registered import ParrotProcessor
from parrot.training.conversations import ConversationCollator

SIZE = (24, 16)


def drawing() -> PIL.Image.Image:
    """A gradient whose four corners differ, so that no turn or flip of it is itself."""
    x, y = np.meshgrid(np.linspace(0, 255, SIZE[0]), np.linspace(0, 255, SIZE[1]))
    return PIL.Image.fromarray(np.stack([x, y, (x + 2 * y) / 3], axis=-1).astype(np.uint8))


def encoded(image: PIL.Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def pixels(image: PIL.Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def turned(orientation: int) -> PIL.Image.Image:
    """What a camera that is held so stores, with the tag that says how."""
    stored = {
        2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
        3: PIL.Image.Transpose.ROTATE_180,
        4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
        5: PIL.Image.Transpose.TRANSPOSE,
        6: PIL.Image.Transpose.ROTATE_90,
        7: PIL.Image.Transpose.TRANSVERSE,
        8: PIL.Image.Transpose.ROTATE_270,
    }
    image = drawing()
    return image.transpose(stored[orientation]) if orientation in stored else image


def exif(orientation: Any) -> PIL.Image.Exif:
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF"])
def test_ordinary_pictures_are_what_pillow_makes_of_them(format_: str) -> None:
    content = encoded(drawing(), format_)
    expected = PIL.Image.open(io.BytesIO(content)).convert("RGB")
    assert (pixels(decode(content)) == pixels(expected)).all()
    assert check_image(content, 1) == image_header(content) == (*SIZE, format_)


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
    assert check_image(content, 1)[:2] == image_header(content)[:2] == SIZE


def test_orientation_behind_the_pixels_of_a_png() -> None:
    content = encoded(turned(6), exif=exif(6))
    at = content.index(b"eXIf") - 4
    length = 12 + struct.unpack(">I", content[at : at + 4])[0]
    chunk, end = content[at : at + length], content.index(b"IEND") - 4
    late = content[:at] + content[at + length : end] + chunk + content[end:]
    assert pixels(decode(late)).tolist() == pixels(drawing()).tolist()
    assert check_image(late, 1)[:2] == SIZE


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
        check_image(content, 1)


def transparent(mode: str) -> bytes:
    """The left half black, the right half transparent (and black below)."""
    image = PIL.Image.new("LA", SIZE, (0, 0))
    image.paste((0, 255), (0, 0, SIZE[0] // 2, SIZE[1]))
    if mode == "P":
        image = image.convert("RGBA").quantize(4, method=PIL.Image.Quantize.FASTOCTREE)
    return encoded(image if mode in ("LA", "P") else image.convert(mode))


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


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (bytes(5000), "a file of zeros"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "a web page (HTML)"),
        (b"<?xml version='1.0'?><!-- x --><html xmlns='x'>", "a web page (HTML)"),
        (b"<html><svg/></html>", "a web page (HTML)"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "a drawing (SVG)"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML text"),
        (b'{"error": 403}', "a JSON text"),
        (b"not found\n", "a text"),
        ("找不到".encode() * 400, "a text"),
        (base64.b64encode(bytes(100)), "a picture written as text (base64)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video (MP4)"),
        (b"RIFF\0\0\0\0AVI LIST", "a video (AVI)"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"\xff\x0a\0\0", "a JPEG XL picture"),
        (b"%PDF-1.7", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
        (b"8BPS\0\1", "a Photoshop file (PSD)"),
        (b"PK\3\4", "a zip archive"),
        (b"\x00\x01\x02\xff", "no picture of a known kind"),
    ],
)
def test_what_is_no_picture_is_named(content: bytes, kind: str) -> None:
    assert kind_of_file(content).startswith(kind)
    with pytest.raises(Rejected) as error:
        check_image(content, 1)
    assert error.value.reason.startswith(f"unreadable image: {kind}")
    assert error.value.reason.endswith("; taken are AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF and WEBP")


def test_a_machine_without_avif_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(drawing(), "AVIF")
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(ValueError, match="an AVIF picture, which Pillow was built without"):
        decode_image(content[:20])


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A web server on this machine, and the folder whose files it gives."""
    folder = tmp_path_factory.mktemp("served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


PICTURES = {
    "exif.jpg": encoded(turned(6), "JPEG", exif=exif(6)),
    "alpha.png": transparent("RGBA"),
    "palette.png": transparent("P"),
    "grey16.png": encoded(PIL.Image.fromarray(np.linspace(0, 65535, 96).astype(np.uint16).reshape(8, 12))),
    "cmyk.jpg": encoded(drawing().convert("CMYK"), "JPEG"),
    "plain.jpg": encoded(drawing(), "JPEG"),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("pad", [True, False])
def test_the_processor_sees_what_training_sees(
    processor: ParrotProcessor,
    address: tuple[str, Path],
    name: str,
    pad: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(processor, "pad_to_square", pad)
    content, (server, folder) = PICTURES[name], address
    file = folder / name
    file.write_bytes(content)
    chat = [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "It."}]
    row = {"id": "1", "messages": chat, "images": [content]}
    expected = ConversationCollator(processor, 64)([row])["pixel_values"]
    assert torch.equal(processor.encode_images([decode(content)]), expected)  # as evaluation and chat do
    text = base64.b64encode(content).decode()
    with PIL.Image.open(file) as opened:
        for image in (opened, file, str(file), f"{server}/{name}", content, text, f"data:x;base64,{text}"):
            called = processor(images=[image], text=["<image>"], return_tensors="pt")["pixel_values"]
            assert torch.equal(called, expected), type(image)
            assert torch.equal(
                processor(images=[image], text=None, return_tensors="pt")["pixel_values"], expected
            )
            part = {"type": "image", "image": image}
            templated = processor.apply_chat_template(
                [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}],
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
            assert torch.equal(templated["pixel_values"], expected), type(image)


def test_the_background_is_saved_with_the_processor(processor: ParrotProcessor, tmp_path: Path) -> None:
    other = ParrotProcessor(
        processor.image_processor, processor.tokenizer, image_seq_length=5, background="#00ff00"
    )
    other.save_pretrained(tmp_path)
    loaded = ParrotProcessor.from_pretrained(tmp_path)
    assert loaded.background == "#00ff00"
    content = PICTURES["alpha.png"]
    expected = loaded.encode_images([decode(content, "#00ff00")])
    assert torch.equal(loaded.encode_images([content]), expected)
    assert not torch.equal(processor.encode_images([content]), expected)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("no/such.png", "neither a file nor an address, and as a picture in text: broken base64: '.'"),
        ("nosuch", "from 'nosuch': "),
        ("data:text/html,x", "a data URI that begins with"),
        (b"<html>", r"a web page \(HTML\)"),
        ("http://127.0.0.1:9/x.png", "from 'http://127.0.0.1:9/x.png': "),
        ("http://[", "from 'http://\\['"),
        (PIL.Image.new("F", (4, 4)), "floating-point values"),
    ],
)
def test_what_the_processor_cannot_read_is_one_sentence(
    processor: ParrotProcessor, image: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ValueError, match=rf"sample 0: no image could be read.*{problem}"):
        processor(images=[image], text=["<image>"])


def test_a_broken_picture_in_training_names_its_record(processor: ParrotProcessor) -> None:
    chat = [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "It."}]
    row = {"id": "r7", "source": "s", "messages": chat, "images": [PICTURES["plain.jpg"][:100]]}
    with pytest.raises(ParrotError, match=r"r7.*no image could be read"):
        ConversationCollator(processor, 64)([row])
