"""Entries that become a partition: gathered in one place, made into rows anywhere."""

from collections.abc import Iterator, Sequence
from itertools import count, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from parrot.data.partitions import Partition, write_partitions
from parrot.data.records import Record, text_table, to_table
from parrot.data.reject_tables import REJECTS, RejectsWriter
from parrot.data.rejects import Reject, as_json
from parrot.data.shards import write_shard
from parrot.data.sources.json_lines import Lines
from parrot.data.sources.reading import SourceReader
from parrot.files import atomic_directory

RECORDS = "records.parquet"
MENDED = "mended.parquet"
AND = "; "
"""Between the rules by which a record was mended."""
_HELD = 64 << 20
"""Bytes of the pictures in a partition's entries, or of its lines, from which on it takes no more entries."""
Piece = Lines | tuple[int, Any]
"""Entries that are not parsed yet; or one, with its position in its file."""


class Part(NamedTuple):
    """Entries of a language that become a partition."""

    number: int
    language: str
    pieces: list[Piece]
    entries: int
    """How many they are."""


def gather(reader: SourceReader, languages: Sequence[str], size: int) -> Iterator[Part]:
    """The partitions of a source, in order; each is of one file, or of files of one language.

    Args:
        size: how many entries each has at most.
    """
    numbers = count()
    for language, pieces in groupby(reader.pieces(languages, size), itemgetter(0)):
        for some, entries in _together((piece for _, piece in pieces), size):
            yield Part(next(numbers), language, some, entries)


def _together(pieces: Iterator[Piece], size: int) -> Iterator[tuple[list[Piece], int]]:
    """Pieces of up to `size` entries; fewer where they are large, since they are held at once."""
    some: list[Piece] = []
    entries = held = 0
    for piece in pieces:
        more = piece.number if isinstance(piece, Lines) else 1
        if some and (entries + more > size or held >= _HELD):
            yield some, entries
            some, entries, held = [], 0, 0
        some.append(piece)
        entries += more
        held += piece.size if isinstance(piece, Lines) else _picture_bytes(piece[1])
    if some:
        yield some, entries


def _picture_bytes(entry: Any) -> int:
    """Of the pictures that an entry brings itself, encoded or as data URIs."""
    held, inside = 0, [entry]
    for one in inside:  # which grows meanwhile
        if isinstance(one, str):
            held += len(one) if one.startswith("data:") else 0
        elif isinstance(one, dict):
            inside += one.values()
        elif isinstance(one, list):
            inside += one
        elif isinstance(one, bytes):
            held += len(one)
    return held


def make_part(folder: Path, reader: SourceReader, part: Part) -> None:
    """The records of some entries of a file, where each of them went, and what was rejected or mended."""
    with atomic_directory(folder) as partial:
        with RejectsWriter(partial / REJECTS) as rejects, RejectsWriter(partial / MENDED) as mends:
            making = _Making(reader, part, rejects, mends)
            write_shard(partial / RECORDS, making.rows())
        shard = f"{folder.name}.parquet"
        partition = Partition(part.language, shard, part.entries, making.rejected, making.mended)
        write_partitions(partial, [partition])


class _Making:
    """Makes rows of entries one after the other; those of lines together, as far as they are plain."""

    def __init__(
        self, reader: SourceReader, part: Part, rejects: RejectsWriter, mends: RejectsWriter
    ) -> None:
        self.rejected: list[int] = []
        """Places of entries in the part."""
        self.mended: list[int] = []
        self._reader, self._part, self._rejects, self._mends = reader, part, rejects, mends

    def rows(self) -> Iterator[Record | pa.Table]:
        begin = 0
        for piece in self._part.pieces:
            if isinstance(piece, Lines):
                yield from self._lines(piece, begin)
                begin += piece.number
            else:
                yield from self._record(begin, *piece)
                begin += 1

    def _lines(self, lines: Lines, begin: int) -> Iterator[Record | pa.Table]:
        content = lines.read()
        plain = self._reader.plain(lines, content)
        if plain is None:
            for place, entry in enumerate(lines.entries(content), start=begin):
                yield from self._record(place, *entry)
            return
        table = text_table(plain.names, self._reader.name, self._part.language, plain.talk)
        odd = np.setdiff1d(np.arange(lines.number), plain.places)
        if not len(odd):
            yield table
            return
        others = {
            place: record
            for place, entry in zip(odd.tolist(), lines.some(content, odd), strict=True)
            for record in self._record(begin + place, *entry)
        }
        rows = pa.concat_tables([table, to_table(list(others.values()))])
        yield rows.take(np.argsort([*plain.places, *others]))

    def _record(self, place: int, position: int, entry: Any) -> Iterator[Record]:
        """The record of an entry, if it becomes one."""
        made = self._reader.record(self._part.language, position, entry)
        if isinstance(made, Reject):
            self.rejected.append(place)
            self._rejects.add(made)
            return
        if made.mended:
            self.mended.append(place)
            who, rules = (self._reader.name, self._part.language, made.id), AND.join(made.mended)
            self._mends.add(Reject(*who, "", rules, position, as_json(entry)))
        yield made
