"""Short hashes by which equal pictures and equal records are found."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parrot.data.columns import Talks, as_bytes

_SIZE = 16
_ROLES = pa.array(["system", "user", "assistant"])
_LAST = 128
_HEAD = np.dtype([("role", "u1"), ("size", "<u4")])
"""Of a message: who speaks, whether it is the record's last, and the bytes of its text."""


def digest(data: bytes) -> bytes:
    """16 bytes that only equal data share."""
    return hashlib.blake2b(data, digest_size=_SIZE).digest()


def content_digests(talk: Talks, pictures: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Of each record's content: its messages, as they lie in memory, and its pictures' digests.

    Of heads, texts and pictures in this order, which no two records have in common whose turns are of known
    roles: the heads say where they end, and how long the texts are together.
    """
    ends, content = as_bytes(talk.texts)
    heads = np.empty(len(talk.texts), _HEAD)
    heads["size"] = np.diff(ends)
    heads["role"] = pc.fill_null(pc.index_in(talk.roles, _ROLES), len(_ROLES)).to_numpy()
    heads["role"][talk.starts[1:][np.diff(talk.starts) > 0] - 1] |= _LAST
    head, said = memoryview(heads.tobytes()), memoryview(content)
    heads_of, texts_of = (
        pairwise((talk.starts * _HEAD.itemsize).tolist()),
        pairwise(ends[talk.starts].tolist()),
    )
    found = []
    for (first, last), (begin, end), own in zip(heads_of, texts_of, pictures, strict=True):
        content_hash = hashlib.blake2b(head[first:last], digest_size=_SIZE)
        content_hash.update(said[begin:end])
        if own:
            content_hash.update(b"".join(own))
        found.append(content_hash.digest())
    return found
