"""The inputs of ../shared/reference/reported that are about pictures: each is read, or refused by name."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from parrot.data.images import ImageStore, decode, decode_within, image_header
from parrot.data.rejects import Rejected

REPORTED = Path(__file__).parents[2] / "../shared/reference/reported"
if not REPORTED.is_dir():
    pytest.skip("needs the reported inputs, ../shared/reference/reported", allow_module_level=True)


def read(folder: str, images: str) -> list[bytes]:
    """The pictures that the records of a reported input name; each is whole."""
    records = json.loads((REPORTED / folder / "records.json").read_text(encoding="utf-8"))
    store = ImageStore(REPORTED / folder / images)
    contents = [store.read(record["image"]) for record in records]
    for content in contents:
        decode_within(content, 64)
    return contents


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(decode(content)).astype(int)


def test_08_a_ramp_of_16_bits_stays_a_ramp() -> None:
    (content,) = read("08_gray16_white_float_black", "images")
    levels = np.unique(pixels(content))
    assert levels[0] < 5
    assert levels[-1] > 250
    assert len(levels) > 60


def test_09_black_on_transparent_is_black_on_white() -> None:
    (content,) = read("09_transparent_png_black", "images")
    levels = np.unique(pixels(content))
    assert (levels[0], levels[-1]) == (0, 255)


def test_10_the_picture_is_upright() -> None:
    (content,) = read("10_exif_orientation", "images")
    assert decode_within(content, 64).size == (64, 96)
    (file,) = (REPORTED / "10_exif_orientation/images").iterdir()
    with PIL.Image.open(file) as image:
        stored = np.asarray(image.convert("RGB"))
    assert (pixels(content) == np.rot90(stored, -1)).all()


def test_11_other_formats_are_read_or_named() -> None:
    store = ImageStore(REPORTED / "11_unaccepted_formats_unclear/images")
    assert decode_within(store.read("a.avif"), 64).size == image_header(store.read("a.avif"))[:2]
    assert decode_within(store.read("a.ppm"), 64).size == (64, 64)
    with pytest.raises(Rejected, match=r"unreadable image: a web page \(HTML\); taken are AVIF, BMP"):
        decode_within(store.read("html.jpg"), 64)


@pytest.mark.parametrize(
    ("folder", "images", "count"),
    [
        ("12_file_name_normal_forms", "images", 1),
        ("13_zip_with_top_folder", "train2017.zip", 3),
        ("13_zip_with_top_folder", "train2017.zip/train2017", 3),
        ("14_zip_utf8_without_flag", "i.zip", 1),
        ("15_tar_gz", "images.tar.gz", 1),
    ],
)
def test_12_to_15_every_picture_is_found(folder: str, images: str, count: int) -> None:
    assert len(read(folder, images)) == count
