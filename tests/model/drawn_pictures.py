"""Pictures to encode and to decode, and their pixels."""

import io
from typing import Any

import numpy as np
import PIL.Image

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


def transparent(mode: str) -> bytes:
    """The left half black, the right half transparent (and black below)."""
    image = PIL.Image.new("LA", SIZE, (0, 0))
    image.paste((0, 255), (0, 0, SIZE[0] // 2, SIZE[1]))
    if mode == "P":
        image = image.convert("RGBA").quantize(4, method=PIL.Image.Quantize.FASTOCTREE)
    return encoded(image if mode in ("LA", "P") else image.convert(mode))
