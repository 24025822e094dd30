"""Texts as sets of windows of eight bytes, by which texts that are nearly equal are found.

Windows know no words, so that Chinese and Turkish are treated alike. What does not change what is said is
taken away first: the case, the form of letters, spaces, punctuation, and the letters of options.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from parrot.data.columns import Flags, Integers

WINDOW = 8
# The letter first: so the expression is looked for only where one of eight letters stands.
_OPTION = re.compile(r"[A-H](?<!\w[A-H])[.):]\s?")
_BETWEEN = "\0"
"""Texts are treated together, with this between them, which is no letter, no space, and stays as it is."""
_LOWER = bytes(range(256)).lower()
_NO_ASCII_LETTER = bytes(one for one in range(1, 128) if not chr(one).isalnum())

Hashes = NDArray[np.uint64]
_SHIFT = np.uint64(33)


def normalized(texts: Sequence[str]) -> list[bytes]:
    """What each text says, in UTF-8."""
    ascii_alone = [text.isascii() for text in texts]
    short = iter(_together(_normalized_ascii, list(compress(texts, ascii_alone))))
    others = iter(_together(_normalized, [text for text in texts if not text.isascii()]))
    return [next(short if one else others) for one in ascii_alone]


def _together(normalize: Callable[[str], bytes], texts: Sequence[str]) -> list[bytes]:
    if not texts:
        return []
    joined = _BETWEEN.join(text.replace(_BETWEEN, "") if _BETWEEN in text else text for text in texts)
    return normalize(_OPTION.sub(" ", joined)).split(_BETWEEN.encode())


def _normalized_ascii(text: str) -> bytes:
    """What `_normalized` gives, in a tenth of the time."""
    return text.encode().translate(_LOWER, _NO_ASCII_LETTER)


def _normalized(text: str) -> bytes:
    text = unicodedata.normalize("NFKC", text).casefold()
    letters = np.frombuffer(text.encode("utf-32-le", errors="replace"), "<u4")
    said: bytes = letters[_stays()[letters]].tobytes().decode("utf-32-le").encode()
    return said


@cache
def _stays() -> Flags:
    """Whether each character is a letter or a digit; a look is a tenth of the time of an expression."""
    stays = np.array([chr(number).isalnum() for number in range(sys.maxunicode + 1)])
    stays[ord(_BETWEEN)] = True
    return stays


def window_hashes(texts: Sequence[bytes]) -> tuple[Hashes, Integers]:
    """A hash of every window of each text, and which text it is of; a shorter one has none."""
    sizes = np.array([len(text) for text in texts], np.int64)
    counts = np.maximum(sizes - WINDOW + 1, 0)
    # Windows of all texts together, but for those that reach from one into the next.
    skipped = np.cumsum(sizes - counts) - (sizes - counts)
    starts = np.arange(counts.sum()) + np.repeat(skipped, counts)
    together = b"".join(texts)
    windows = np.ndarray((max(0, len(together) - WINDOW + 1),), "<u8", together, strides=(1,))
    return mixed(windows[starts]), np.repeat(np.arange(len(texts)), counts)


def mixed(keys: Hashes) -> Hashes:
    """Each bit of a key changes half of the bits of what comes out: MurmurHash3's finalizer."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        keys = keys ^ (keys >> _SHIFT)
        keys *= np.uint64(factor)
    return keys ^ (keys >> _SHIFT)
