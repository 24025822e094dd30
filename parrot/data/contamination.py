"""The pictures of benchmarks, which no training may see."""

from pathlib import Path

from parrot.data.digests import digest
from parrot.data.images import decode_base64_image
from parrot.data.tsv import read_rows, wrong_cell
from parrot.errors import ParrotError

MAX_REFERENCE = 64
"""An `image` of at most so many characters is the index of the row that holds the picture."""


def benchmark_pictures(folder: Path) -> dict[bytes, Path]:
    """Digest -> file, of every picture in the TSVs in `folder` and below; their column `image` is read alone.

    Raises:
        ParrotError: it is missing or holds no TSV; or a file is no such table, or a picture no base64.
    """
    if not folder.is_dir():
        raise ParrotError(f"{folder}: not found (mix.benchmarks); `parrot data` provides the demo data")
    files = sorted(folder.rglob("*.tsv"))
    if not files:
        raise ParrotError(f"{folder}: holds no .tsv (mix.benchmarks)")
    return {picture: file for file in files for picture in _pictures(file)}


def _pictures(file: Path) -> set[bytes]:
    found = set()
    for row, cells in read_rows(file, ["image"]):
        if len(cells["image"].strip()) > MAX_REFERENCE:
            try:
                found.add(digest(decode_base64_image(cells["image"])))
            except ValueError as error:
                raise wrong_cell(file, row, "image", str(error)) from None
    return found
