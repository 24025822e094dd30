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
# The letter first: so the expression is looked for only where one of eight letters stands.
_OPTION = re.compile(r"[A-H](?<!\w[A-H])[.):]\s?")
_NO_LETTER = re.compile(r"[\W_]+")
_LOWER = bytes(range(256)).lower()
_NO_ASCII_LETTER = bytes(one for one in range(128) if not chr(one).isalnum())

Hashes = NDArray[np.uint64]
_SHIFT = np.uint64(33)


def normalized(text: str) -> bytes:
    """What is said, in UTF-8."""
    text = _OPTION.sub(" ", text)
    if text.isascii():  # what follows, in a tenth of the time
        return text.encode().translate(_LOWER, _NO_ASCII_LETTER)
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(text.split())  # the expression finds spaces, too, and takes ten times as long
    return _NO_LETTER.sub("", text).encode(errors="replace")


def window_hashes(texts: Sequence[bytes]) -> tuple[Hashes, NDArray[np.int64]]:
    """A hash of every window of each text, and which text it is of; a shorter one has none."""
    windows = [_windows(text) for text in texts]
    owners = np.repeat(np.arange(len(texts)), [len(some) for some in windows])
    return mixed(np.concatenate([np.empty(0, np.uint64), *windows])), owners


def _windows(text: bytes) -> Hashes:
    return np.ndarray((max(0, len(text) - WINDOW + 1),), "<u8", text, strides=(1,))


def mixed(keys: Hashes) -> Hashes:
    """Each bit of a key changes half of the bits of what comes out: MurmurHash3's finalizer."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        keys = keys ^ (keys >> _SHIFT)
        keys *= np.uint64(factor)
    return keys ^ (keys >> _SHIFT)
