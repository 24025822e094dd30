"""What is drawn with the seed: how often an entry is seen, and in which order sources are mixed."""

import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from parrot.config import Mixed
from parrot.errors import ParrotError

Item = TypeVar("Item")
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


def interleave(streams: Sequence[tuple[int, Iterator[Item]]], order: str) -> Iterator[Item]:
    """The entries of all files, interleaved: each step draws a file in proportion to what it has left."""
    remaining = [wanted for wanted, _ in streams]
    draw = random.Random(f"mix/{order}").random
    last = len(streams) - 1
    for left in range(sum(remaining), 0, -1):
        place = bisect(list(accumulate(remaining)), draw() * left, 0, last)  # as random.choices does it
        remaining[place] -= 1
        yield next(streams[place][1])
