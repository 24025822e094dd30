"""Encoded documents in files that all processes read: none holds them, and each encodes a part of them."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from examples.picture_world.backbones.encoded import ByLetter, Encoded


@dataclass(frozen=True)
class Stretch:
    """A file of documents, each in a line of JSON."""

    file: Path
    ends: list[int]
    """Of each document, in bytes."""
    lengths: list[int]
    """Of each document, in tokens."""


def store(documents: Iterable[Encoded], file: Path) -> Stretch:
    """Write the documents as they come."""
    ends, lengths, end = [], [], 0
    with file.open("wb") as lines:
        for document in documents:
            end += lines.write(json.dumps(vars(document), default=_plain).encode() + b"\n")
            ends.append(end)
            lengths.append(len(document.input_ids))
    return Stretch(file, ends, lengths)


class StoredDocuments(Dataset[Encoded]):
    """The documents of some files, one after the other."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._stretches = [stretch for stretch in stretches if stretch.ends]
        self._lines = [_mapped(stretch.file) for stretch in self._stretches]
        self._starts = list(accumulate((len(stretch.ends) for stretch in self._stretches), initial=0))
        self.lengths = [length for stretch in self._stretches for length in stretch.lengths]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Encoded:
        part = bisect_right(self._starts, index) - 1
        ends, place = self._stretches[part].ends, index - self._starts[part]
        return _read(self._lines[part][ends[place - 1] if place else 0 : ends[place]])


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else vars(value)


def _mapped(file: Path) -> mmap:
    with file.open("rb") as opened:
        return mmap(opened.fileno(), 0, access=ACCESS_READ)


def _read(line: bytes) -> Encoded:
    found: dict[str, Any] = json.loads(line)
    arrays = {name: np.array(found[name], np.int32) for name in ("input_ids", "labels", "grid")}
    return Encoded(**found | arrays | {"by_letter": [ByLetter(**turn) for turn in found["by_letter"]]})
