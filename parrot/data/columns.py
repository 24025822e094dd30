"""Stored records column by column: an object of Python for each message takes several times as long."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from parrot.data.checksums import SealedFile

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Talks:
    """The messages of some records, one record behind the other."""

    starts: Integers
    """Where the messages of each record begin; behind them, where those of the last one end."""
    roles: pa.StringArray
    """Of each message."""
    texts: pa.StringArray

    def sums(self, of_messages: Integers | Flags) -> Integers:
        """For each record the sum of what was counted in its messages."""
        until = np.concatenate([[0], np.cumsum(of_messages, dtype=np.int64)])
        found: Integers = np.diff(until[self.starts])
        return found


def as_bytes(texts: pa.StringArray) -> tuple[Integers, bytes]:
    """Texts one behind the other in UTF-8, and in front of that, where each begins and the last one ends."""
    _, offsets, content = texts.buffers()
    if not len(texts) or offsets is None:
        return np.zeros(1, np.int64), b""
    ends = np.frombuffer(offsets, np.int32)[texts.offset :][: len(texts) + 1].astype(np.int64)
    return ends - ends[0], content[int(ends[0]) : int(ends[-1])].to_pybytes() if content else b""


def count_in(texts: pa.StringArray, part: str) -> Integers:
    """How often each holds a part, which hardly any does: that is soon seen of all together."""
    if part.encode() not in as_bytes(texts)[1]:
        return np.zeros(len(texts), np.int64)
    return np.asarray(pc.count_substring(texts, part)).astype(np.int64)


def talks(messages: pa.ChunkedArray, turns: Integers | None = None) -> Talks:
    """Of a column `messages`; bytes of a text that are no UTF-8 become U+FFFD.

    Args:
        turns: how many messages of each record count, from its beginning; without it all.
    """
    lists = messages.combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    starts, spoken = offsets - offsets[0], lists.flatten()
    roles, texts = _whole(spoken.field("role")), _whole(spoken.field("content"))
    sizes = np.diff(starts)
    if turns is not None and (turns < sizes).any():
        places = np.arange(len(texts)) - np.repeat(starts[:-1], sizes)
        counts = pa.array(places < np.repeat(turns, sizes))
        roles, texts = roles.filter(counts), texts.filter(counts)
        starts = np.concatenate([[0], np.cumsum(np.minimum(turns, sizes))])
    return Talks(starts, roles, texts)


def _whole(texts: pa.StringArray) -> pa.StringArray:
    """They may be no UTF-8 where somebody else wrote the shard."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raw = texts.cast(pa.binary()).to_pylist()
        return pa.array([(one or b"").decode(errors="replace") for one in raw], pa.string())
    return texts.fill_null("") if texts.null_count else texts


def read_rows(file: SealedFile, rows: Integers, columns: Sequence[str]) -> pa.Table:
    """Some columns of some rows of a shard; of row groups in which there is none nothing is read.

    Raises:
        ParrotError: the shard has no such row, or is damaged.
    """
    ends = np.cumsum(file.group_sizes)
    groups, places = np.unique(_groups_of(file, rows), return_inverse=True)
    table = file.read(groups.tolist(), columns)
    sizes = np.diff(ends, prepend=0)[groups]
    found = rows - (ends[groups] - sizes)[places] + (np.cumsum(sizes) - sizes)[places]
    return table if np.array_equal(found, np.arange(len(table))) else table.take(found)


def together(file: SealedFile, rows: Integers, most: int, most_bytes: int) -> list[Integers]:
    """The places in `rows` of those that are read at a time: no more than `most`, and of row groups of about
    `most_bytes`, as long as one of them is not larger.

    Raises:
        ParrotError: the shard has no such row.
    """
    groups = _groups_of(file, rows)
    begun = np.diff(groups, prepend=-1) != 0
    filled = np.cumsum(np.where(begun, np.array(file.group_bytes, np.int64)[groups], 0)) // most_bytes
    places = np.arange(len(rows))
    return np.split(places, np.flatnonzero(np.diff(filled) | np.diff(places // most)) + 1)


def _groups_of(file: SealedFile, rows: Integers) -> Integers:
    """The row group in which each of some rows is."""
    if len(rows):
        file.locate(int(rows.max()))
    return np.searchsorted(np.cumsum(file.group_sizes), rows, side="right")


def keys_of(digests: pa.ChunkedArray | pa.Array) -> NDArray[np.uint64]:
    """Digests of 16 bytes as rows of two numbers."""
    fixed = digests.combine_chunks() if isinstance(digests, pa.ChunkedArray) else digests
    fixed = fixed.cast(pa.binary(16))
    words = np.frombuffer(fixed.buffers()[1], np.uint64) if len(fixed) else np.empty(0, np.uint64)
    return words[2 * fixed.offset : 2 * (fixed.offset + len(fixed))].reshape(-1, 2)
