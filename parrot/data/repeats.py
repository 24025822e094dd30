"""Which of many keys came before: found with a share of them in memory at a time."""

import tempfile
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from parrot.data.columns import Integers

_FILES = 32
"""Open at a time, of each search: `validate` has two of these and two for near duplicates, and some systems
allow a process 256."""
_FILE_OF = np.uint64(2**64 // _FILES)
_ENTRY = np.dtype([("key", "<u8", 2), ("number", "<i8")])


class Repeats:
    """Keys of 16 bytes, sorted into temporary files by their first bits; each is looked through for itself.

    Keys are digests: those bits must be as good as random. Closes its files at the block's end.
    """

    def __init__(self) -> None:
        self._files = [tempfile.TemporaryFile(buffering=1 << 13) for _ in range(_FILES)]  # noqa: SIM115

    def __enter__(self) -> "Repeats":
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    def add(self, numbers: Integers, keys: NDArray[np.uint64]) -> None:
        """Add the keys of things, each of which has a larger number than those before it."""
        entries = np.empty(len(keys), _ENTRY)
        entries["key"], entries["number"] = keys, numbers
        places = (keys[:, 0] // _FILE_OF).astype(np.int64)
        entries = entries[np.argsort(places, kind="stable")]
        ends = np.cumsum(np.bincount(places, minlength=_FILES)).tolist()
        for file, begin, end in zip(self._files, [0, *ends], ends, strict=False):
            if begin < end:
                file.write(entries[begin:end].tobytes())

    def pairs(self) -> Iterator[tuple[Integers, Integers]]:
        """Numbers whose key came before, and which number had it first; in no order."""
        for file in self._files:
            file.seek(0)
            entries = np.frombuffer(file.read(), _ENTRY)
            keys = entries["key"]
            order = np.lexsort((keys[:, 1], keys[:, 0]))  # which keeps the order of equal ones
            keys, numbers = keys[order], entries["number"][order]
            new = np.ones(len(keys), bool)
            new[1:] = (keys[1:] != keys[:-1]).any(1)
            firsts = numbers[np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))]
            yield numbers[~new], firsts[~new]
