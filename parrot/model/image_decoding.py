"""Encoded pictures, and pictures that Pillow has opened, to upright RGB of eight bits: the one way to decode.

Training, evaluation, chat and the released processor see the same pixels because all of them come here.
Self-contained: it is also part of the code in a released folder.
"""

import base64
import binascii
import io
import re
import warnings
from urllib.parse import unquote

import numpy as np
import PIL.Image
from PIL import features

from .image_kinds import kind_of_file

# What data sets hold. Some of Pillow's other formats start programs, read further files, or are rarely tried.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
BACKGROUND = "white"
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""Orientation in EXIF -> what undoes it: CIPA DC-008, 4.6.4 A."""
_MAX_16_BIT = 2**16 - 1
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def decode_image(encoded: bytes, background: str = BACKGROUND) -> PIL.Image.Image:
    """The picture (of an animation the first one) as `upright_rgb` gives it.

    Raises:
        ValueError: it is none of `FORMATS`, broken, or its values have no known range; says which.
    """
    with open_image(encoded) as image:
        return upright_rgb(image, background)


def open_image(encoded: bytes) -> PIL.Image.Image:
    """The picture with its header read: format, size, mode.

    Raises:
        ValueError: it is none of `FORMATS`, or claims more pixels than Pillow's limit; says what was found.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata, and sizes that the caller judges
            return PIL.Image.open(io.BytesIO(encoded), formats=FORMATS)
    except PIL.UnidentifiedImageError:
        found = kind_of_file(encoded)
        if "AVIF" in found and not features.check("avif"):
            found = "an AVIF picture, which Pillow was built without on this machine"
        taken = f"; taken are {', '.join(FORMATS[:-1])} and {FORMATS[-1]}"
        raise ValueError(found if found.startswith("a broken") else found + taken) from None
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise ValueError(_short(error)) from None


def upright_rgb(image: PIL.Image.Image, background: str = BACKGROUND) -> PIL.Image.Image:
    """The picture in RGB of eight bits, turned as EXIF says, laid on `background` where it is transparent.

    Grey of 16 bits keeps its higher eight, as Pillow does with colours of 16 bits. What comes out of here
    comes out the same when it is put in again; a picture that is right already is not copied.

    Args:
        background: a colour's name or `#rrggbb`, as `PIL.ImageColor` reads it.

    Raises:
        ValueError: it cannot be decoded, or its values have no known range; says which.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata, transparency in palettes
            image.load()
            rgb = _rgb(image, background)
            method = _UPRIGHT.get(_orientation(image))
        if method is None:
            return rgb
        rgb = rgb.transpose(method)
    except ValueError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        raise ValueError(_short(error)) from None
    rgb.info = {}  # else the orientation would be undone once more
    return rgb


def upright_size(image: PIL.Image.Image) -> tuple[int, int]:
    """Width and height in pixels of what `upright_rgb` makes of an opened picture, without decoding.

    A PNG that has its EXIF behind the pixels is taken for upright.
    """
    width, height = image.size
    is_tiff = hasattr(image, "tag_v2")  # Pillow's size of a TIFF is upright
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata
        return (height, width) if not is_tiff and _orientation(image) >= 5 else (width, height)


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


def _orientation(image: PIL.Image.Image) -> int:
    """1 to 8; 1 where EXIF says nothing, or nothing that can be read."""
    try:
        # Not the PNG reader's own method: it decodes the pixels.
        value = PIL.Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # broken metadata does not make a picture unreadable
        return 1
    return value if value in _UPRIGHT else 1


def _rgb(image: PIL.Image.Image, background: str) -> PIL.Image.Image:
    if image.mode == "F":
        raise ValueError(
            "floating-point values (mode F), whose white nobody knows; save it with 8 or 16 bits"
        )
    if image.mode.startswith("I"):
        return _rgb_of_grey16(image, background)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    key = image.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:  # of a PNG of 16 bits, whose pixels Pillow has in 8
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    rgba = image.convert("RGBA")
    below = PIL.Image.new("RGBA", image.size, background)
    return PIL.Image.alpha_composite(below, rgba).convert("RGB")


def _rgb_of_grey16(image: PIL.Image.Image, background: str) -> PIL.Image.Image:
    """Modes I;16 in any order of bytes, and I, in which Pillow also keeps grey of 16 bits."""
    values = np.asarray(image).astype(np.int64)
    low, high = values.min(), values.max()
    if low < 0 or high > _MAX_16_BIT:
        raise ValueError(
            f"values from {low} to {high} (mode {image.mode}), whose white nobody knows; "
            f"save it with 8 or 16 bits"
        )
    grey = PIL.Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        mask = np.where(values == transparent, 255, 0).astype(np.uint8)
        grey.paste(background, mask=PIL.Image.fromarray(mask))
    return grey


def _short(error: BaseException) -> str:
    # Pillow names the buffer by its address in memory, which differs from run to run.
    text = " ".join(str(error).split()).partition("<_io")[0].strip()
    return text or type(error).__name__
