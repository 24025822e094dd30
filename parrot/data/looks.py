"""What a picture looks like, in a few bits that stay the same when it is scaled or compressed again.

A difference hash (http://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html) of 12 × 12
cells, across and down, and the colours of a ninth of the cells, since pictures that differ in colour alone
are different where the colour is what is asked for.
"""

from collections.abc import Sequence

import numpy as np
import PIL.Image
from numpy.typing import NDArray

_CELLS = 12
_SAMPLES = 4
"""Pixels of a cell that count, across and down."""
_MARGIN = 12
"""By so much of 3 × 255 a cell is brighter than the one before it; compression makes smaller differences."""
_LEVELS = np.array([64, 128, 192]).reshape(3, 1, 1, 1)
LOOK_BITS = 2 * _CELLS * (_CELLS - 1) + 3 * 3 * (_CELLS // 3) ** 2
LOOK_BYTES = LOOK_BITS // 8
BLOCKS = 12
"""Of 32 bits, all of them but the last; two looks that differ in fewer bits than these have one in common."""
MAX_BITS = BLOCKS - 1


def look(rgb: PIL.Image.Image) -> bytes:
    """Of a decoded picture."""
    side = _CELLS * _SAMPLES
    small = rgb.resize((side, side), PIL.Image.Resampling.NEAREST).reduce(_SAMPLES)
    cells = np.frombuffer(small.tobytes(), np.uint8).reshape(_CELLS, _CELLS, 3)
    light = cells.sum(2, dtype=np.int16)
    across, down = light[:, 1:] - light[:, :-1] > _MARGIN, light[1:] - light[:-1] > _MARGIN
    colours = cells[1::3, 1::3] > _LEVELS
    return np.packbits(np.concatenate([across.ravel(), down.ravel(), colours.ravel()])).tobytes()


def distances(looks: NDArray[np.uint8], other: bytes) -> NDArray[np.int64]:
    """In how many bits each of `looks`, one a row, differs from another."""
    apart: NDArray[np.int64] = np.bitwise_count(looks ^ np.frombuffer(other, np.uint8)).sum(1, dtype=np.int64)
    return apart


def as_rows(looks: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(looks), np.uint8).reshape(len(looks), LOOK_BYTES)
