"""Parquet files in which no damaged byte is taken for data.

Parquet's own checksums cover the content of its pages, but neither their headers nor the footer. Here
a block stands in front of the footer, where readers of Parquet skip what the footer does not point to:

    CRC-32 of each column chunk, row group by row group | their number | CRC-32 of the block so far
    and of all that follows | footer, its length, "PAR1"

Numbers are little-endian, of four bytes. Nothing is parsed before it is checked.
"""

import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from parrot.errors import ParrotError

_WORD = 4
_TAIL = _WORD + len(b"PAR1")
"""Bytes behind the footer."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The pages of one column in one row group: `size` bytes from `start` on."""

    path: str
    """Of a nested column, such as `images.list.element.path`."""
    start: int
    size: int


def seal(path: Path) -> None:
    """Put the block of checksums into a Parquet file that has none."""
    content = pa.memory_map(str(path))
    metadata = pq.read_metadata(content)
    chunks = (chunk for group in range(metadata.num_row_groups) for chunk in _chunks(metadata, group))
    sums = [zlib.crc32(content.read_at(chunk.size, chunk.start)) for chunk in chunks]
    footer = content.size() - _TAIL - _word(content, content.size() - _TAIL)
    ending = content.read_at(content.size() - footer, footer)
    content.close()
    block = struct.pack(f"<{len(sums) + 1}I", *sums, len(sums))
    block += struct.pack("<I", zlib.crc32(ending, zlib.crc32(block)))
    with path.open("r+b") as file:
        file.seek(footer)
        file.write(block + ending)


class SealedFile:
    """A Parquet file with checksums, memory-mapped.

    Each column chunk is checked when it is read for the first time.

    Raises:
        ParrotError: the file is missing, has no checksums, or is damaged; here, in `check` or in `read`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._content = pa.memory_map(str(path))
            self._sums = self._checked_block()
            self._file = pq.ParquetFile(self._content)
        except (pa.ArrowException, OSError) as error:
            raise self._problem(f"not readable as Parquet ({error})") from None
        self._width = self._file.metadata.num_columns
        if (chunks := self._width * self._file.num_row_groups) != len(self._sums):
            raise self._problem(f"{chunks} column chunks, but {len(self._sums)} checksums")
        self._unchecked: dict[int, list[tuple[_Chunk, int]]] = {}
        """Of row groups that were read."""
        self._starts = [0, *accumulate(self.group_sizes)]

    @property
    def schema(self) -> pa.Schema:
        return self._file.schema_arrow

    @property
    def group_sizes(self) -> list[int]:
        """Rows of each row group."""
        metadata = self._file.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    @property
    def group_bytes(self) -> list[int]:
        """What each row group takes in memory, all columns together."""
        metadata = self._file.metadata
        return [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]

    def locate(self, row: int) -> tuple[int, int]:
        """The row group in which a row of the file is, and its place there."""
        if not 0 <= row < self._starts[-1]:
            raise self._problem(f"has {self._starts[-1]} rows, none has number {row}")
        group = bisect_right(self._starts, row) - 1
        return group, row - self._starts[group]

    def read(self, groups: Sequence[int] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of some row groups, whole or only `columns` of them; a nested column by its path."""
        groups = range(len(self.group_sizes)) if groups is None else groups
        try:
            for group in groups:
                self._check(group, columns)
            # Threads would not survive the fork of a DataLoader's worker.
            return self._file.read_row_groups(groups, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise self._problem(f"not readable as Parquet ({error})") from None

    def check(self) -> None:
        """See that all of it is whole; nothing is parsed."""
        for group in range(self._file.num_row_groups):
            self._check(group, None)

    def _check(self, group: int, columns: Sequence[str] | None) -> None:
        if group not in self._unchecked:
            sums = self._sums[group * self._width : (group + 1) * self._width]
            self._unchecked[group] = list(zip(_chunks(self._file.metadata, group), sums, strict=True))
        unread = []
        for chunk, expected in self._unchecked[group]:
            if columns is not None and not any(f"{chunk.path}.".startswith(f"{name}.") for name in columns):
                unread.append((chunk, expected))
            elif zlib.crc32(self._content.read_at(chunk.size, chunk.start)) != expected:
                column = chunk.path.partition(".")[0]
                raise self._problem(f"damaged: '{column}' of row group {group} has another checksum")
        self._unchecked[group] = unread

    def _checked_block(self) -> tuple[int, ...]:
        """The checksums of the column chunks, once block and footer are as they were written."""
        content = self._content
        size = content.size()
        damaged = self._problem("damaged, or another file: its end has no checksums that fit")
        if size < 2 * _WORD + _TAIL:
            raise damaged
        footer = size - _TAIL - _word(content, size - _TAIL)
        if footer < 2 * _WORD:
            raise damaged
        count, expected = struct.unpack("<2I", content.read_at(2 * _WORD, footer - 2 * _WORD))
        start = footer - (count + 2) * _WORD
        if start < 0:
            raise damaged
        block = content.read_at((count + 1) * _WORD, start)
        if zlib.crc32(content.read_at(size - footer, footer), zlib.crc32(block)) != expected:
            raise damaged
        return struct.unpack(f"<{count}I", block[:-_WORD])

    def _problem(self, what: str) -> ParrotError:
        return ParrotError(f"{self._path}: {what}; run the stage that wrote it again")


def _chunks(metadata: pq.FileMetaData, group: int) -> Iterator[_Chunk]:
    """The column chunks of a row group, in the order of the file."""
    row_group = metadata.row_group(group)
    for place in range(metadata.num_columns):
        found = row_group.column(place)
        start = found.dictionary_page_offset if found.has_dictionary_page else found.data_page_offset
        yield _Chunk(found.path_in_schema, start, found.total_compressed_size)


def _word(content: pa.MemoryMappedFile, position: int) -> int:
    return int.from_bytes(content.read_at(_WORD, position), "little")
