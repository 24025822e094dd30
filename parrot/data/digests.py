"""Short hashes by which equal pictures and equal records are found."""

import hashlib
from collections.abc import Iterable


def digest(data: bytes) -> bytes:
    """16 bytes that only equal data share."""
    return hashlib.blake2b(data, digest_size=16).digest()


def content_digest(turns: Iterable[tuple[str, str]], pictures: Iterable[bytes]) -> bytes:
    """Of a record's content: its (role, text) turns and its pictures' digests."""
    return digest(repr((list(turns), list(pictures))).encode())
