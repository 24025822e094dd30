"""Texts that ask what a benchmark asks, otherwise laid out or a word apart: found among millions of others.

A text that lacks no more than n windows of a question has at least k of any n + k of them. So it is looked
for so many of each question's, those that the fewest other questions have; if k are found, all are compared.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parrot.data.columns import Integers
from parrot.data.text_windows import Hashes, window_hashes

_NEEDED = 0.1
"""Share of a question's windows that have to be found before all are compared."""
_BITS_FOR_EACH = 32
"""Of the table in which windows are looked up first: one in so many is taken for one that is looked for."""


class SameQuestions:
    """Finds texts that have no less than a share of a question's windows.

    Args:
        questions: what they say, as `normalized` gives it.
        share: of the distinct windows of a question, more than 0.
    """

    def __init__(self, questions: Sequence[bytes], share: float) -> None:
        self._share = share
        hashes, owners = _distinct(*window_hashes(questions))
        sizes = np.bincount(owners, minlength=len(questions))
        self._windows = np.split(hashes, np.cumsum(sizes)[:-1])
        """Of each question."""
        _, places, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        rarest = np.lexsort((hashes, counts[places], owners))
        least = np.floor(share * sizes).astype(np.int64)
        self._needed = np.minimum(least, np.ceil(_NEEDED * sizes).astype(np.int64))
        """Windows of each question."""
        looked_for = sizes - least + self._needed
        ranks = np.arange(len(hashes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rarest = rarest[ranks < np.repeat(looked_for, sizes)]
        rarest = rarest[np.argsort(hashes[rarest], kind="stable")]
        self._rare, self._owners = hashes[rarest], owners[rarest]
        """Windows that are looked for, in order, and which question each is of."""
        self._known = np.zeros(1 << (_BITS_FOR_EACH * len(rarest)).bit_length(), bool)
        """By the bits in which a window ends, whether it may be looked for."""
        self._known[self._ending(self._rare)] = True

    def find(self, texts: Sequence[bytes]) -> dict[int, tuple[int, float]]:
        """Of each text that is a question which one it is nearest to, and what share of that it has."""
        hashes, owners = window_hashes(texts)
        known = np.flatnonzero(self._known[self._ending(hashes)])
        first = np.searchsorted(self._rare, hashes[known])
        counts = np.searchsorted(self._rare, hashes[known], side="right") - first
        places = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        pairs, times = np.unique(
            np.repeat(owners[known], counts) * len(self._windows) + self._owners[places], return_counts=True
        )
        candidates, questions = np.divmod(pairs, len(self._windows))
        near = times >= self._needed[questions]
        begins = np.searchsorted(owners, np.arange(len(texts) + 1))
        found: dict[int, tuple[int, float]] = {}
        for text, question in zip(candidates[near].tolist(), questions[near].tolist(), strict=True):
            windows = self._windows[question]
            share = np.isin(windows, hashes[begins[text] : begins[text + 1]]).sum() / len(windows)
            if share >= self._share and (text not in found or share > found[text][1]):
                found[text] = question, float(share)
        return found

    def _ending(self, hashes: Hashes) -> Integers:
        return (hashes & np.uint64(len(self._known) - 1)).astype(np.int64)


def _distinct(hashes: Hashes, owners: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
    """Those of each owner in order, none twice."""
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return hashes[new], owners[new]
