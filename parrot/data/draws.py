"""What is drawn with the seed: how often an entry is seen, and in which order sources are mixed."""

import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parrot.config import Mixed
from parrot.errors import ParrotError

Copies = NDArray[np.uint8]
"""Of each entry of a source, how often an epoch sees it."""


def draw_copies(folder: Path, total: int, mixed: Mixed, order: str) -> Copies:
    """How often each entry of a source is taken, by `samples` and `weight`."""
    source = folder.name
    chosen: Sequence[int] = range(total)
    times, rest = divmod(mixed.weight, 1)
    copies = np.full(total, int(times), np.uint8)
    if mixed.samples is not None:
        if mixed.samples > total:
            raise ParrotError(
                f"{folder}: holds {total} entries, {mixed.samples} samples are asked for; correct "
                f"mix.{order.rpartition('/')[2]}.{source}"
            )
        chosen = random.Random(f"samples/{order}/{source}").sample(chosen, mixed.samples)
        copies[:] = 0
        copies[chosen] = int(times)
    copies[random.Random(f"weight/{order}/{source}").sample(chosen, round(rest * len(chosen)))] += 1
    return copies


def interleave(wanted: Sequence[int], order: str) -> NDArray[np.uint16]:
    """Of which file each entry of a mixture is: each step draws a file in proportion to what it has left.

    Args:
        wanted: how many entries each file gives.
    """
    remaining = list(wanted)
    draw, last = random.Random(f"mix/{order}").random, len(remaining) - 1
    drawn = np.empty(sum(remaining), np.uint16)
    for number in range(len(drawn)):
        # As random.choices does it.
        place = bisect(list(accumulate(remaining)), draw() * (len(drawn) - number), 0, last)
        remaining[place] -= 1
        drawn[number] = place
    return drawn
