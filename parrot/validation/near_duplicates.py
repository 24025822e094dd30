"""Records and pictures that nearly repeat earlier ones, found with a share of their keys in memory at a time.

Texts by MinHash (one permutation with rotation, arXiv 1406.4784) in bands: of two texts that share 95 % of
their windows nine pairs in ten are found, of two that share 70 % one in a hundred. Pictures by their looks:
if they differ in fewer bits than a look has blocks, one block is the same. Keys are sorted into temporary
files by their first bits, and each file is looked through for itself: 0.3 KB a text, 0.9 KB a picture.
"""

import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from parrot.data.looks import BLOCKS, LOOK_BYTES
from parrot.data.text_windows import Hashes, mixed, normalized, window_hashes

LEAST_BYTES = 64
"""Of a text, once spaces and punctuation are left out: shorter ones are equal by chance."""
_BINS, BANDS = 64, 4
_NEIGHBOURS = 8
"""Each is compared with so many different ones before it that have the same key."""
_EMPTY = np.uint64(2**64 - 1)
_FILES = 32
"""Open at a time, of each search: `validate` has two of these and two `Repeats`, and some systems allow a
process 256."""
_FILE_OF = np.uint64(2**64 // _FILES)
_ENTRY = np.dtype(
    [("key", "<u8"), ("record", "<u4"), ("digest", "<u8"), ("look", "<u8", (-(-LOOK_BYTES // 8),))]
)
_LISTED = 10_000
"""Pairs that are kept to be listed; all are counted."""


class NearDuplicates:
    """Things of records, each with keys: two that share a key and look alike are near duplicates.

    Args:
        bits: in which the looks of two may differ.
    """

    def __init__(self, bits: int) -> None:
        self.count = 0
        """Records that nearly repeat an earlier one; known once `pairs` is through."""
        self._bits = bits
        self._files = [tempfile.TemporaryFile(buffering=1 << 13) for _ in range(_FILES)]  # noqa: SIM115
        self._records = 0

    def add(
        self, records: Sequence[int], keys: Hashes, digests: Sequence[bytes], looks: Sequence[bytes]
    ) -> None:
        """Add things, each with its record's number, a row of keys, a digest of its bytes, and its look."""
        if not len(records):
            return
        entries = np.zeros(keys.shape, _ENTRY)
        entries["key"] = mixed(keys + np.arange(keys.shape[1]).astype(np.uint64))
        entries["record"] = np.array(records, np.uint32)[:, None]
        entries["digest"] = np.array([int.from_bytes(digest[:8], "little") for digest in digests], np.uint64)[
            :, None
        ]
        width = _ENTRY["look"].itemsize
        padded = b"".join(look.ljust(width, b"\0") for look in looks)
        entries["look"] = np.frombuffer(padded, "<u8").reshape(len(records), 1, -1)
        places = (entries["key"] // _FILE_OF).astype(np.int64)
        for place in np.unique(places):
            self._files[place].write(entries[places == place].tobytes())
        self._records = max(self._records, max(records) + 1)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """A later and an earlier record that are near duplicates: a pair for each later one, up to 10,000."""
        found = np.zeros(self._records, bool)
        for file in self._files:
            file.seek(0)
            entries = np.frombuffer(file.read(), _ENTRY)
            file.close()
            entries = entries[np.lexsort((entries["record"], entries["digest"], entries["key"]))]
            starts = np.flatnonzero(_differs(entries["key"]) | _differs(entries["digest"]))
            sizes = np.diff(starts, append=len(entries))
            order = np.lexsort((entries["record"][starts], entries["key"][starts]))
            different = entries[starts[order]]
            for apart in range(1, _NEIGHBOURS + 1):
                earlier, later = different[:-apart], different[apart:]
                near = earlier["key"] == later["key"]
                near[near] = _distances(earlier["look"][near], later["look"][near]) <= self._bits
                groups = order[apart:][near]
                firsts = np.repeat(earlier["record"][near], sizes[groups])
                seconds = entries["record"][_members(starts[groups], sizes[groups])]
                new = ~found[seconds] & (firsts != seconds)
                for first, second in zip(firsts[new].tolist(), seconds[new].tolist(), strict=True):
                    if not found[second]:
                        found[second] = True
                        self.count += 1
                        if self.count <= _LISTED:
                            yield second, first

    def close(self) -> None:
        for file in self._files:
            file.close()


def _differs(sorted_: Hashes) -> NDArray[np.bool_]:
    """Of each of some hashes in order, whether another one stands before it."""
    new = np.ones(len(sorted_), bool)
    new[1:] = sorted_[1:] != sorted_[:-1]
    return new


def _members(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of all in groups that begin at `starts`."""
    skipped = starts - (sizes.cumsum() - sizes)
    return np.arange(sizes.sum()) + np.repeat(skipped, sizes)


def _distances(some: Hashes, others: Hashes) -> NDArray[np.int64]:
    apart: NDArray[np.int64] = np.bitwise_count(some ^ others).sum(-1, dtype=np.int64)
    return apart


def text_keys(texts: Sequence[str]) -> tuple[list[int], Hashes]:
    """The places of those texts that are long enough, and keys of each: near texts share one."""
    normal = normalized(texts)
    long = [place for place, text in enumerate(normal) if len(text) >= LEAST_BYTES]
    hashes, owners = window_hashes([normal[place] for place in long])
    flat = np.full(len(long) * _BINS, _EMPTY)  # of one axis, where numpy takes a tenth of the time
    np.minimum.at(flat, owners * _BINS + (hashes >> np.uint64(58)).astype(np.int64), hashes)
    least = flat.reshape(-1, _BINS)
    while (gaps := least == _EMPTY).any():
        least = np.where(gaps, np.roll(least, -1, axis=1), least)
    keys = np.zeros((len(long), BANDS), np.uint64)
    for band in np.split(least, _BINS // BANDS, axis=1):
        keys = mixed(keys ^ band)
    return long, keys


def look_keys(looks: Sequence[bytes]) -> Hashes:
    """The blocks of each of some looks."""
    blocks = np.frombuffer(b"".join(looks), np.uint8).reshape(len(looks), -1)
    return np.ascontiguousarray(blocks[:, : 4 * BLOCKS]).view("<u4").astype(np.uint64)
