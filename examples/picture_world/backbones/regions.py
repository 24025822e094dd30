"""Region descriptions (Visual Genome's form) and the grid of patches they fall on.

Both small backbones learn from them: the vision tower learns which words belong to which patch,
the language model learns to read a grid of such words and to answer questions about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from parrot.errors import ParrotError

MIN_OVERLAP = 0.3


@dataclass(frozen=True, slots=True)
class Region:
    """A box in pixels of the picture and the words that describe what is in it."""

    x: int
    y: int
    width: int
    height: int
    words: tuple[str, ...]

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.x, self.y, self.width, self.height


def parse_regions(entries: Any, where: str) -> list[Region]:
    """Read the `regions` of one Visual Genome item; the first covers the whole picture.

    Raises:
        ParrotError: a key is missing or of the wrong type; `where` names file and record.
    """
    try:
        regions = [
            Region(
                int(entry["x"]),
                int(entry["y"]),
                int(entry["width"]),
                int(entry["height"]),
                tuple(str(entry["phrase"]).split()),
            )
            for entry in entries
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ParrotError(
            f"{where}: regions need x, y, width, height and phrase ({type(error).__name__}: {error})"
        ) from None
    if not regions:
        raise ParrotError(f"{where}: no regions; the first must describe the whole picture")
    return regions


def patches_of(region: Region, whole: Region, grid: int) -> tuple[int, ...]:
    """Row-major indices (0 … grid²-1) of the patches that `region` covers; at least one.

    A patch counts when the overlap is at least 30 % of the smaller of patch and region, or when no
    other patch has more of it.
    """
    return _patches(region.box, (whole.width, whole.height), grid)


@lru_cache(maxsize=100_000)
def _patches(box: tuple[int, int, int, int], size: tuple[int, int], grid: int) -> tuple[int, ...]:
    x, y, box_width, box_height = box
    patch_width, patch_height = size[0] / grid, size[1] / grid
    overlaps = []
    for row in range(grid):
        for column in range(grid):
            left, top = column * patch_width, row * patch_height
            width = min(left + patch_width, x + box_width) - max(left, x)
            height = min(top + patch_height, y + box_height) - max(top, y)
            overlaps.append(max(width, 0) * max(height, 0))
    smaller = min(patch_width * patch_height, box_width * box_height)
    enough = min(MIN_OVERLAP * smaller, max(overlaps))
    return tuple(patch for patch, overlap in enumerate(overlaps) if overlap and overlap >= enough)


def words_by_position(regions: Sequence[Region], grid: int) -> list[list[tuple[str, ...]]]:
    """For CLS (position 0) and each patch (1 … grid²): the phrases of the regions found there."""
    whole = regions[0]
    positions: list[list[tuple[str, ...]]] = [[] for _ in range(grid * grid + 1)]
    positions[0].append(whole.words)
    for region in regions[1:]:
        for patch in patches_of(region, whole, grid):
            positions[1 + patch].append(region.words)
    return positions
