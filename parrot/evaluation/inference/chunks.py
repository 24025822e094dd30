"""The work cut into chunks: questions about the same pictures belong together.

A chunk is answered by one process at a stretch, so that a picture is decoded and encoded once, in however
many languages, rotations and runs it is asked about. Chunks that are done are kept: a killed inference goes
on where it was.
"""

import hashlib
import json
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion

BATCHES = 4
"""Batches in a chunk, about: enough to sort the questions by length, few enough to lose little."""

Chunk = list[MultipleChoiceQuestion]
"""Questions of one picture after the other."""
T = TypeVar("T")


def cut(questions: Iterable[MultipleChoiceQuestion], batch_size: int) -> list[Chunk]:
    """All questions in chunks of about `BATCHES` batches; more where one picture has more questions."""
    by_picture: dict[bytes, Chunk] = {}
    for question in questions:
        by_picture.setdefault(question.image, []).append(question)
    chunks: list[Chunk] = [[]]
    for about_one in by_picture.values():
        if len(chunks[-1]) >= BATCHES * batch_size:
            chunks.append([])
        chunks[-1] += about_one
    return chunks if by_picture else []


def batches(items: list[T], size: int) -> Iterator[list[T]]:
    """The items, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def swap(images: Sequence[bytes], seed: int) -> dict[bytes, bytes]:
    """Another picture for each picture: a random cycle through all different ones (Sattolo).

    Raises:
        ParrotError: there is only one picture.
    """
    originals = list(dict.fromkeys(images))
    if len(originals) < 2:
        raise ParrotError("evaluate.blind: 'swapped' needs at least two different pictures; use 'removed'")
    others = originals.copy()
    draw = random.Random(f"swapped/{seed}")
    for last in range(len(others) - 1, 0, -1):
        other = draw.randrange(last)
        others[last], others[other] = others[other], others[last]
    return dict(zip(originals, others, strict=True))


class Journal:
    """A file with a line for each chunk that was answered: the hash of the JSON that follows it, and that."""

    def __init__(self, path: Path) -> None:
        """Open it; from the first line on that is not whole, it counts as not written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.done: list[dict[str, Any]] = []
        """The answers so far."""
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                checksum, _, text = line.partition(b" ")
                if not text.endswith(b"\n") or checksum != _checksum(text):
                    break
                self.done += json.loads(text)
                whole += len(line)
        self._file = path.open("r+b" if path.exists() else "wb")
        self._file.seek(whole)
        self._file.truncate()

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add a chunk's answers; on return they are on the disk."""
        text = json.dumps(rows).encode() + b"\n"
        self._file.write(_checksum(text) + b" " + text)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done += rows

    def close(self) -> None:
        self._file.close()


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
