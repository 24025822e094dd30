"""Encoded pictures from folders and archives: read without trust, checked, decoded."""

import base64
import binascii
import io
import os
import re
import stat
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import PIL.Image

from parrot.data.rejects import Rejected
from parrot.errors import ParrotError

MAX_ENCODED_BYTES = 256 << 20
"""Of one picture; more is an attack or a mistake."""

# Only what data sets hold: some of Pillow's other formats start programs or read further files.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_BROKEN_MEMBER = (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError)


class ImageStore:
    """The pictures of a source: a folder, a .zip or an uncompressed .tar, opened once.

    `store.read(name)` gives the encoded bytes, or raises `Rejected` if there is no such picture or
    its name leads out of the folder or archive.

    Raises:
        ParrotError: the folder or archive is missing or cannot be opened.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self._load = _open_folder(self.path)
        elif not self.path.is_file():
            raise ParrotError(f"{path}: not found; `parrot data` fetches or makes the demo data, "
                              f"other pictures belong there as their publisher ships them")  # fmt: skip
        elif zipfile.is_zipfile(self.path):
            self._load = _open_zip(self.path)
        else:
            self._load = _open_tar(self.path)

    def read(self, name: str) -> bytes:
        parts = PurePosixPath(name).parts
        if not parts or "\0" in name or "\\" in name or name.startswith("/") or ".." in parts:
            raise Rejected("image", f"unsafe path: {name!r} is not a path inside {self.path}")
        return self._load(str(PurePosixPath(*parts)))


def check_image(encoded: bytes, max_megapixels: float) -> tuple[int, int, str]:
    """Decode a picture once to see that it is whole; returns width and height in pixels, and its format.

    The size is read from the header first, so that a small file cannot claim gigabytes.

    Raises:
        Rejected: it is no picture, truncated, or larger than `max_megapixels`.
    """
    try:
        with _open(encoded) as image:
            width, height, name = *image.size, str(image.format)
            if width * height > max_megapixels * 1e6:
                raise Rejected("image", f"image too large: {width} × {height} pixels, "
                                        f"more than {max_megapixels:g} megapixels")  # fmt: skip
            image.load()
    except Rejected:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        raise Rejected("image", f"unreadable image: {_short(error)}") from None
    return width, height, name


def image_header(encoded: bytes) -> tuple[int, int, str]:
    """Width and height in pixels, and format, without decoding.

    Raises:
        ValueError: it is no picture.
    """
    try:
        with _open(encoded) as image:
            return *image.size, str(image.format)
    except Exception as error:
        raise ValueError(_short(error)) from None


def decode(encoded: bytes) -> PIL.Image.Image:
    """The picture in RGB.

    Raises:
        ParrotError: it cannot be decoded.
    """
    try:
        with _open(encoded) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # transparency in palettes
            return image.convert("RGB")
    except Exception as error:
        raise ParrotError(f"a picture of {len(encoded)} bytes cannot be decoded: {_short(error)}") from None


_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def decode_base64_image(text: str) -> bytes:
    """The encoded picture that `text` holds: plain, wrapped or url-safe base64, padded or not, or a data URI.

    Forms: https://www.rfc-editor.org/rfc/rfc4648 (4 and 5), https://www.rfc-editor.org/rfc/rfc2397.

    Raises:
        ValueError: says what is wrong, in a sentence's part that can follow the place where it stands.
    """
    digits = text.strip().removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    if digits[:5].lower() == "data:":
        head, comma, digits = digits.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise ValueError(f"a data URI that begins with '{head[:40]}' and not with 'data:image/…;base64,'")
        digits = unquote(digits) if "%" in digits else digits
    digits = "".join(digits.split()).replace("-", "+").replace("_", "/")
    length = len(digits)
    digits = digits.rstrip("=")
    if length - len(digits) > 2:
        raise ValueError(f"broken base64: {length - len(digits)} '=' at its end, at most 2 belong there")
    if not digits:
        raise ValueError("empty")
    if wrong := _NO_BASE64.search(digits):
        raise ValueError(f"broken base64: {wrong[0]!r} after {wrong.start()} characters")
    if len(digits) % 4 == 1:
        raise ValueError(f"broken base64: its {len(digits)} characters are cut off in the middle of a byte")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"broken base64: {error}") from None


def _open(encoded: bytes) -> PIL.Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata, and sizes that the caller judges
        return PIL.Image.open(io.BytesIO(encoded), formats=_FORMATS)


def _short(error: BaseException) -> str:
    # Pillow names the buffer by its address in memory, which differs from run to run.
    text = " ".join(str(error).split()).partition("<_io")[0].strip()
    return text or type(error).__name__


def _missing(path: Path, name: str) -> Rejected:
    return Rejected("image", f"missing image: {path} has no {name}")


def _open_folder(folder: Path) -> Callable[[str], bytes]:
    root = folder.resolve()

    def load(name: str) -> bytes:
        file = folder / name
        try:
            if not file.is_file():
                raise _missing(folder, name)
            if not file.resolve().is_relative_to(root):
                raise Rejected("image", f"unsafe path: {name!r} is a link out of {folder}")
            if file.stat().st_size > MAX_ENCODED_BYTES:
                raise _oversize(name)
            return file.read_bytes()
        except OSError as error:  # no permission, a name too long
            raise Rejected("image", f"unreadable image: {name} in {folder}: {error.strerror}") from None

    return load


def _open_zip(path: Path) -> Callable[[str], bytes]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ParrotError(f"{path}: cannot be opened as a zip archive ({error}); fetch it again") from None
    members = {_plain(info.filename): info for info in archive.infolist() if not info.is_dir()}

    def load(name: str) -> bytes:
        info = members.get(name)
        if info is None:
            raise _missing(path, name)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise Rejected("image", f"unsafe path: {name!r} is a link in {path}")
        try:
            with archive.open(info) as file:
                encoded = file.read(MAX_ENCODED_BYTES + 1)
        except _BROKEN_MEMBER as error:
            raise Rejected("image", f"unreadable image: {name} in {path}: {_short(error)}") from None
        if len(encoded) > MAX_ENCODED_BYTES:
            raise _oversize(name)
        return encoded

    return load


def _open_tar(path: Path) -> Callable[[str], bytes]:
    members: dict[str, tuple[int, int]] = {}
    others = set()  # links and sparse files
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isreg() and not member.issparse():
                    members[_plain(member.name)] = member.offset_data, member.size
                elif not member.isdir():
                    others.add(_plain(member.name))
                archive.members = []  # type: ignore[attr-defined]  # else it keeps a kilobyte for each
    except (tarfile.TarError, OSError) as error:
        raise ParrotError(
            f"{path}: neither a folder, a .zip nor an uncompressed .tar ({error}); fetch or unpack it again"
        ) from None
    file = path.open("rb")

    def load(name: str) -> bytes:
        if name in others:
            raise Rejected("image", f"unsafe path: {name!r} is a link in {path}")
        if name not in members:
            raise _missing(path, name)
        offset, size = members[name]
        if size > MAX_ENCODED_BYTES:
            raise _oversize(name)
        return os.pread(file.fileno(), size, offset)

    return load


def _plain(name: str) -> str:
    """A member's name as `read` asks for it: `./a//b.jpg` -> `a/b.jpg`."""
    return str(PurePosixPath(name))


def _oversize(name: str) -> Rejected:
    return Rejected("image", f"image too large: {name} has more than {MAX_ENCODED_BYTES >> 20} MiB")
