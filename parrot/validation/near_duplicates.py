"""Records and pictures that nearly repeat earlier ones, found in memory that does not grow with the records.

Texts by MinHash (one permutation with rotation, arXiv 1406.4784) in bands: of two texts that share 95 % of
their windows nine pairs in ten are found, of two that share 70 % one in a hundred. Pictures by their looks:
if they differ in fewer bits than a look has blocks, one block is the same. Keys are sorted into temporary
files by their first bits, and each file is looked through for itself.
"""

import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from parrot.data.looks import BLOCKS, LOOK_BYTES
from parrot.data.text_windows import Hashes, mixed, normalized, window_hashes

LEAST_BYTES = 64
"""Of a text, once spaces and punctuation are left out: shorter ones are equal by chance."""
_BINS, _BANDS = 64, 4
_NEIGHBOURS = 8
"""Each is compared with so many before it that have the same key."""
_EMPTY = np.uint64(2**64 - 1)
_FILES = 128
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
        places = (entries["key"] >> np.uint64(57)).astype(np.int64)
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
            entries = entries[np.lexsort((entries["record"], entries["key"]))]
            for apart in range(1, _NEIGHBOURS + 1):
                earlier, later = entries[:-apart], entries[apart:]
                near = (earlier["key"] == later["key"]) & (earlier["digest"] != later["digest"])
                near[near] = _distances(earlier["look"][near], later["look"][near]) <= self._bits
                for first, second in zip(earlier["record"][near], later["record"][near], strict=True):
                    if first != second and not found[second]:
                        found[second] = True
                        self.count += 1
                        if self.count <= _LISTED:
                            yield int(second), int(first)


def _distances(some: Hashes, others: Hashes) -> NDArray[np.int64]:
    apart: NDArray[np.int64] = np.bitwise_count(some ^ others).sum(-1, dtype=np.int64)
    return apart


def text_keys(texts: Sequence[str]) -> tuple[list[int], Hashes]:
    """The places of those texts that are long enough, and keys of each: near texts share one."""
    normal = [normalized(text) for text in texts]
    long = [place for place, text in enumerate(normal) if len(text) >= LEAST_BYTES]
    hashes, owners = window_hashes([normal[place] for place in long])
    least = np.full((len(long), _BINS), _EMPTY)
    np.minimum.at(least, (owners, (hashes >> np.uint64(58)).astype(np.int64)), hashes)
    while (gaps := least == _EMPTY).any():
        least = np.where(gaps, np.roll(least, -1, axis=1), least)
    keys = np.zeros((len(long), _BANDS), np.uint64)
    for band in np.split(least, _BINS // _BANDS, axis=1):
        keys = mixed(keys ^ band)
    return long, keys


def look_keys(looks: Sequence[bytes]) -> Hashes:
    """The blocks of each of some looks."""
    blocks = np.frombuffer(b"".join(looks), np.uint8).reshape(len(looks), -1)
    return np.ascontiguousarray(blocks[:, : 4 * BLOCKS]).view("<u4").astype(np.uint64)
