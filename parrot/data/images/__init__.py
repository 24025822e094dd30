"""Encoded pictures from folders and archives: read without trust, checked, decoded."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import PIL.Image

from parrot.data.images.archives import MAX_ENCODED_BYTES, open_archive, open_folder
from parrot.data.rejects import Rejected
from parrot.errors import ParrotError
from parrot.model.image_decoding import (
    BACKGROUND,
    decode_base64_image,
    decode_image,
    open_image,
    upright_rgb,
    upright_size,
)

MAX_DECODE_SECONDS = 60.0
"""Of one picture, on the slowest machine; more is an attack."""


class ImageStore:
    """The pictures of a source, opened once: a folder, a .zip, a .tar, a compressed .tar, a Parquet file; a
    folder of such archives, as shards are.

    `store.read(name)` gives the encoded bytes, or raises `Rejected` if there is no such picture or
    its name leads out of the folder or archive. A name is found in whichever Unicode form it is stored.

    Args:
        path: the folder or archive, or a folder within an archive: `images.zip/train2017`. If everything
            in an archive is in one folder, names are found with and without that folder.

    Raises:
        ParrotError: the folder or archive is missing or cannot be opened.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self._load = open_folder(self.path)
            return
        archive = next((place for place in (self.path, *self.path.parents) if place.is_file()), None)
        if archive is None:
            raise ParrotError(f"{path}: not found; `parrot data` fetches or makes the demo data, "
                              f"other pictures belong there as their publisher ships them")  # fmt: skip
        folder = self.path.relative_to(archive)
        self._load = open_archive(archive, "" if folder == Path() else folder.as_posix())

    def read(self, name: str) -> bytes:
        parts = [part for part in name.split("/") if part not in ("", ".")]  # pathlib takes ten times as long
        if not parts or "\0" in name or "\\" in name or name.startswith("/") or ".." in parts:
            raise Rejected("image", f"unsafe path: {name!r} is not a path inside {self.path}")
        return self._load("/".join(parts))


def decode_within(encoded: bytes, max_megapixels: float) -> PIL.Image.Image:
    """Decode a picture once, as training does; returns it, upright and in RGB.

    The size is read from the header first, so that a small file cannot claim gigabytes.

    Raises:
        Rejected: it is no picture, truncated, of values without a known range, or larger than
            `max_megapixels`, or takes more than a minute.
    """
    try:
        with _time_limit(MAX_DECODE_SECONDS), open_image(encoded) as image:
            width, height = image.size
            if width * height > max_megapixels * 1e6:
                raise Rejected("image", f"image too large: {width} × {height} pixels, "
                                        f"more than {max_megapixels:g} megapixels")  # fmt: skip
            return upright_rgb(image)
    except ValueError as error:
        raise Rejected("image", f"unreadable image: {error}") from None


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End what Pillow does in the block after so long; in a main thread, which alone can be interrupted.

    A small file can ask for hours: a progressive JPEG of ten thousand scans, each over all pixels.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError(f"decoding it takes more than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def image_header(encoded: bytes) -> tuple[int, int, str]:
    """Upright width and height in pixels, and format, without decoding.

    Raises:
        ValueError: it is no picture.
    """
    with open_image(encoded) as image:
        return *upright_size(image), str(image.format)


def decode(encoded: bytes, background: str = BACKGROUND) -> PIL.Image.Image:
    """The picture, upright and in RGB, on `background` where it is transparent.

    Raises:
        ParrotError: it cannot be decoded.
    """
    try:
        return decode_image(encoded, background)
    except ValueError as error:
        raise ParrotError(f"a picture of {len(encoded)} bytes cannot be decoded: {error}") from None


__all__ = [
    "BACKGROUND",
    "MAX_ENCODED_BYTES",
    "ImageStore",
    "decode",
    "decode_base64_image",
    "decode_image",
    "decode_within",
    "image_header",
]
