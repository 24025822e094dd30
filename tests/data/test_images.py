import base64
import io
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest
from small_sources import picture, write_zip

from parrot.data.images import ImageStore, archives, decode, decode_base64_image, decode_within, image_header
from parrot.data.rejects import Rejected, kind
from parrot.errors import ParrotError

MEMBERS = {"a.jpg": picture(1), "sub/b.jpg": picture(2), "ünï.jpg": picture(3)}


def encode(format_: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    PIL.Image.new(mode, (20, 10)).save(file, format_)
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind_, target in (
            ("link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.jpg", tarfile.LNKTYPE, "a.jpg"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind_, target
            archive.addfile(info)
    return path


@pytest.fixture(params=["folder", "zip", "tar"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ImageStore:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    path = tmp_path / f"images.{request.param}"
    if request.param == "zip":
        write_zip(path, MEMBERS | {"../secret.jpg": b"evil"})
    elif request.param == "tar":
        write_tar(path, MEMBERS)
    else:
        for name, content in MEMBERS.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        (path / "away").symlink_to(tmp_path)
    return ImageStore(path)


def test_folder_zip_and_tar_hold_the_same(store: ImageStore) -> None:
    for name in [*MEMBERS, *reversed(MEMBERS)]:
        assert store.read(name) == MEMBERS[name]
    assert store.read("./sub//b.jpg") == MEMBERS["sub/b.jpg"]


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jpg",
        "/etc/passwd",
        "sub/../../secret.jpg",
        "..\\secret.jpg",
        "",
        ".",
        "a\0.jpg",
        "away/../secret.jpg",
    ],
)
def test_no_way_out(store: ImageStore, name: str) -> None:
    with pytest.raises(Rejected) as error:
        store.read(name)
    assert error.value.field == "image"
    assert kind(error.value.reason) == "unsafe path"


def test_a_missing_image_names_store_and_member(store: ImageStore) -> None:
    with pytest.raises(Rejected, match=r"missing image: .*images.* has no sub/none.jpg"):
        store.read("sub/none.jpg")


def test_a_name_too_long_for_a_file_system(store: ImageStore) -> None:
    with pytest.raises(Rejected, match=r"(missing|unreadable) image: "):
        store.read("a" * 5000)


@pytest.mark.parametrize("limit", [10, 100])
def test_the_encoded_size_is_bounded(store: ImageStore, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENCODED_BYTES", limit)
    with pytest.raises(Rejected, match=r"image too large: a.jpg"):
        store.read("a.jpg")


def test_stores_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match="not found; `parrot data`"):
        ImageStore(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(ParrotError, match="a text, but no whole tar"):
        ImageStore(tmp_path / "text.zip")


@pytest.mark.parametrize("name", ["link.jpg", "hard.jpg"])
def test_links_in_an_archive_are_rejected(name: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "images.tar", MEMBERS)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for link in ("link.jpg", "hard.jpg"):
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    for path in ("images.tar", "images.zip"):
        with pytest.raises(Rejected, match=f"unsafe path: '{name}' is a link"):
            ImageStore(tmp_path / path).read(name)


@pytest.mark.parametrize("offset", [45, 60])
def test_a_damaged_zip_member_is_rejected(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", picture(1))
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(Rejected, match=r"unreadable image: a.jpg"):
        ImageStore(path).read("a.jpg")


@pytest.mark.parametrize("format_", ["BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_formats(format_: str) -> None:
    encoded = encode(format_)
    assert image_header(encoded) == (20, 10, format_)
    assert decode_within(encoded, 1).size == (20, 10)
    assert decode(encoded).mode == "RGB"
    assert decode(encoded).size == (20, 10)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_decodes_to_rgb(mode: str) -> None:
    assert decode(encode("PNG", mode)).mode == "RGB"


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"no picture",
        encode("JPEG")[:-200],
        encode("PNG")[:50],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
    ],
    ids=["empty", "text", "cut JPEG", "cut PNG", "PostScript"],
)
def test_what_is_no_whole_picture_is_rejected(encoded: bytes) -> None:
    with pytest.raises(Rejected) as error:
        decode_within(encoded, 1)
    assert kind(error.value.reason) == "unreadable image"
    assert "0x" not in error.value.reason  # an address would differ from run to run
    with pytest.raises(ParrotError, match="cannot be decoded"):
        decode(encoded)


def test_a_decompression_bomb_is_rejected_by_its_header() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    def bomb(side: int) -> bytes:
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
        return b"\x89PNG\r\n\x1a\n" + body

    for side, reason in ((9_000, "image too large: 9000 × 9000 pixels"), (60_000, "unreadable image")):
        with pytest.raises(Rejected, match=reason):
            decode_within(bomb(side), 64)
    with pytest.raises(
        ParrotError, match="cannot be decoded: Image size \\(500059044 pixels\\) exceeds limit"
    ):
        decode(bomb(22_362))


def test_the_limit_on_size_is_inclusive() -> None:
    encoded = picture(1, size=(1000, 100))
    assert decode_within(encoded, 0.1).size == (1000, 100)
    with pytest.raises(Rejected, match=r"more than 0.0999 megapixels"):
        decode_within(encoded, 0.0999)


def in_lines(text: str, end: str) -> str:
    return end.join(text[start : start + 76] for start in range(0, len(text), 76))


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text,
        lambda text: f" {text}\n",
        lambda text: in_lines(text, "\n"),
        lambda text: in_lines(text, "\r\n "),
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: text.rstrip("="),
        lambda text: f"data:image/jpeg;base64,{text}",
        lambda text: f"DATA:image/jpeg;charset=utf-8;BASE64, {in_lines(text, chr(10))}",
        lambda text: "data:;base64," + text.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
    ],
    ids=["plain", "spaces", "LF", "CRLF", "url-safe", "no padding", "URI", "URI wrapped", "URI escaped"],
)
@pytest.mark.parametrize("surplus", range(3))
def test_the_ways_in_which_base64_is_written(written: Callable[[str], str], surplus: int) -> None:
    encoded = picture(7) + bytes(range(250 + surplus))
    text = base64.b64encode(encoded).decode()
    assert "+" in text and "/" in text
    assert decode_base64_image(written(text)) == encoded


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("data:image/png;base64,", "empty"),
        ("==", "empty"),
        ("AAAA===", "3 '=' at its end"),
        ("AAAAA", "5 characters are cut off"),
        ("AA=A", "'=' after 2 characters"),
        ("AAAA*AAA", r"'\*' after 4 characters"),
        ("b'AAAA'", '"\'" after 1 characters'),
        ("AAé", "'é' after 2 characters"),
        ("data:image/svg+xml,%3Csvg/%3E", r"begins with 'data:image/svg\+xml'"),
        ("data:image/png;base64", "begins with 'data:image/png;base64' and not"),
    ],
)
def test_what_is_no_base64(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_base64_image(text)


def test_reading_pictures_takes_no_torch() -> None:
    """The data stages start in a fraction of a second."""
    script = "import sys, parrot.data.images; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
