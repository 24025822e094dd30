"""Texts as sets of windows of eight bytes, by which texts that are nearly equal are found.

Windows know no words, so that Chinese and Turkish are treated alike. What does not change what is said is
taken away first: the case, the form of letters, spaces, punctuation, and the letters of options.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WINDOW = 8
_OPTION = re.compile(r"(?<!\w)[A-H][.):]\s?")
_NO_LETTER = re.compile(r"[\W_]+")

Hashes = NDArray[np.uint64]


def normalized(text: str) -> bytes:
    """What is said, in UTF-8."""
    text = unicodedata.normalize("NFKC", _OPTION.sub(" ", text)).casefold()
    return _NO_LETTER.sub("", text).encode(errors="replace")


def window_hashes(texts: Sequence[bytes]) -> tuple[Hashes, NDArray[np.int64]]:
    """A hash of every window of each text, and which text it is of; a shorter one has none."""
    lengths = np.array([len(text) for text in texts], np.int64)
    joined = b"".join(texts)
    if len(joined) < WINDOW:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    windows = np.ndarray((len(joined) - WINDOW + 1,), "<u8", joined, strides=(1,))
    owners = np.repeat(np.arange(len(texts)), lengths)[: len(windows)]
    whole = np.repeat(np.cumsum(lengths), lengths)[: len(windows)] - np.arange(len(windows)) >= WINDOW
    return mixed(windows[whole].astype(np.uint64)), owners[whole]


def mixed(keys: Hashes) -> Hashes:
    """Each bit of a key changes half of the bits of what comes out: MurmurHash3's finalizer."""
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53), (33, 1)):
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys
