"""Shards of records, and a mixture's index into them: written once, read in the order of training.

Nothing is compressed: the pictures are already, and a codec's output could depend on the machine. All
is checksummed, and checked when it is read.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from parrot.data.checksums import SealedFile, seal
from parrot.data.records import IMAGE_TOKEN, RECORD_SCHEMA, Record, text_bytes, to_table
from parrot.errors import ParrotError

GROUP_ROWS = 100
GROUP_BYTES = 2 << 20
"""What one random access may have to read: a row group holds no more than this, or one row."""
INDEX = "index.parquet"
INDEX_ROWS = 10_000
"""Of each row group of an index."""
TRAINED_ON = ("messages", "images")


class Indexed(NamedTuple):
    """A record in a mixture."""

    shard: str
    """Relative to the folder of the split's prepared sources."""
    row: int
    id: str
    """Unique within the source."""
    source: str
    language: str
    length: int
    """UTF-8 bytes of the messages that are kept."""
    positions: int
    """They take at most so many in the model that is trained, images included."""
    copies: int
    """How often an epoch sees it."""
    turns: int
    """How many messages are kept; in its shard one that was cut is whole."""


_TYPES = {str: pa.string(), int: pa.int32()}
INDEX_SCHEMA = pa.schema(
    [pa.field(name, _TYPES[kind], nullable=False) for name, kind in get_type_hints(Indexed).items()]
)

# Text as bytes, since it may be no UTF-8 where somebody else wrote the shard.
_RAW_MESSAGES = pa.list_(pa.struct([("role", pa.binary()), ("content", pa.binary())]))


def write_shard(path: Path, rows: Iterable[Record | pa.Table]) -> int:
    """Write records, one by one or in tables, to one Parquet file of small row groups; returns how many."""
    count = 0
    with pq.ParquetWriter(
        path,
        RECORD_SCHEMA,
        compression="none",
        write_page_checksum=True,  # for readers that do not know ours
        # Of a picture neither a dictionary nor a smallest value is of use.
        use_dictionary=["source", "language", "messages.list.element.role"],
        write_statistics=["id", "source", "language", "length"],
    ) as writer:
        for group in _groups(rows):
            writer.write_table(group)
            count += len(group)
    seal(path)
    return count


def _groups(rows: Iterable[Record | pa.Table]) -> Iterator[pa.Table]:
    """Tables that are no larger than a row group may be."""
    group: list[Record] = []
    filled = 0
    for one in rows:
        if isinstance(one, pa.Table):
            if group:
                yield to_table(group)
            group, filled = [], 0
            yield from _split(one)
            continue
        size = _bytes_of(one)
        if group and (len(group) == GROUP_ROWS or filled + size > GROUP_BYTES):
            yield to_table(group)
            group, filled = [], 0
        group.append(one)
        filled += size
    if group:
        yield to_table(group)


def _bytes_of(record: Record) -> int:
    texts = len(record.id) + len(record.source) + text_bytes(record.messages)
    return texts + sum([len(image.bytes) for image in record.images])


def _split(table: pa.Table) -> Iterator[pa.Table]:
    """Of records without images."""
    begin, filled = 0, 0
    for place, size in enumerate(table["length"].to_pylist()):
        if place > begin and (place - begin == GROUP_ROWS or filled + size > GROUP_BYTES):
            yield table.slice(begin, place - begin)
            begin, filled = place, 0
        filled += size
    if begin < len(table):
        yield table.slice(begin)


def index_table(rows: Sequence[Indexed]) -> pa.Table:
    """Rows of a mixture's index."""
    return pa.Table.from_pylist([row._asdict() for row in rows], INDEX_SCHEMA)


def write_index(folder: Path, tables: Iterable[pa.Table]) -> None:
    """Write a mixture's index, in the order of training, from tables of `INDEX_SCHEMA`."""
    path = folder / INDEX
    with pq.ParquetWriter(
        path, INDEX_SCHEMA, compression="none", use_dictionary=["shard", "source", "language"]
    ) as writer:
        waiting = INDEX_SCHEMA.empty_table()
        for table in tables:
            waiting = pa.concat_tables([waiting, table])
            while len(waiting) >= INDEX_ROWS:
                writer.write_table(waiting.slice(0, INDEX_ROWS).combine_chunks())
                waiting = waiting.slice(INDEX_ROWS)
        if len(waiting):
            writer.write_table(waiting.combine_chunks())
    seal(path)


def open_shard(path: Path) -> SealedFile:
    """A shard of records.

    Raises:
        ParrotError: it is missing, damaged, or another file.
    """
    file = SealedFile(path)
    if not file.schema.equals(RECORD_SCHEMA):
        raise ParrotError(f"{path}: not a shard of records (other columns); run the stage prepare again")
    return file


def open_index(mixture: Path | str) -> SealedFile:
    """A mixture's index.

    Raises:
        ParrotError: it is missing, damaged, or another file.
    """
    path = Path(mixture, INDEX)
    file = SealedFile(path)
    if not file.schema.equals(INDEX_SCHEMA):
        raise ParrotError(f"{path}: not the index of a mixture (other columns); run the stage mix again")
    return file


class _OpenMixture:
    """An index and the shards that it names, each opened."""

    def __init__(self, records: Path | str, mixture: Path | str) -> None:
        self.index: pa.Table = open_index(mixture).read().combine_chunks()
        self.shards = {
            name: open_shard(Path(records, name)) for name in self.index["shard"].unique().to_pylist()
        }


class RecordDataset:
    """The records of a mixture, by number; a map-style data set for training.

    `dataset[i]` is a dictionary: `id`, `source`, `language`, `messages` as `{"role", "content"}`, `images`
    as `[bytes, …]`, encoded. A record is there as often as its `copies` say.
    The index alone is held in memory. A record is read with its row group (at most 2 MiB) from the
    memory-mapped shard, which costs less than decoding its picture.

    Args:
        records: folder of the split's prepared sources.
        mixture: folder that `mix` wrote for the split.

    Raises:
        ParrotError: a file is missing, no shard of records or no index; or, then when it is read, damaged.
    """

    def __init__(self, records: Path | str, mixture: Path | str) -> None:
        self._places = Path(records), Path(mixture)
        self._opened: _OpenMixture | None = None
        index = self._mixture.index
        self.records = np.repeat(np.arange(len(index)), index["copies"])
        """Of each sample, the number of its record in the index."""
        samples = index.select(["language", "length", "positions"]).take(self.records)
        self.languages: list[str] = samples["language"].to_pylist()
        """Of each sample."""
        self.lengths: list[int] = samples["length"].to_pylist()
        """Of each sample: UTF-8 bytes of all its messages."""
        self.positions: list[int] = samples["positions"].to_pylist()
        """Of each sample: what it takes at most in the model that is trained, images included."""

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> dict[str, Any]:
        indexed = self._indexed(number)
        file = self._mixture.shards[indexed["shard"]]
        group, offset = file.locate(indexed["row"])
        [stored] = file.read([group], TRAINED_ON).slice(offset, 1).to_pylist()
        messages, images = kept(stored["messages"], stored["images"], indexed["turns"])
        return self._named(indexed) | {"messages": messages, "images": [image["bytes"] for image in images]}

    def named(self, number: int) -> dict[str, Any]:
        """`id`, `source` and `language` of a sample, from the index alone."""
        return self._named(self._indexed(number))

    def _indexed(self, number: int) -> dict[str, Any]:
        place = number + len(self) if number < 0 else number
        if not 0 <= place < len(self):
            raise IndexError(f"{self._places[1]} has {len(self)} samples, none has number {number}")
        indexed: dict[str, Any]
        [indexed] = self._mixture.index.slice(int(self.records[place]), 1).to_pylist()
        return indexed

    @staticmethod
    def _named(indexed: dict[str, Any]) -> dict[str, Any]:
        return {name: indexed[name] for name in ("id", "source", "language")}

    def __getstate__(self) -> dict[str, Any]:
        """Open files stay behind when a DataLoader sends the data set to a worker."""
        return self.__dict__ | {"_opened": None}

    @property
    def _mixture(self) -> _OpenMixture:
        if self._opened is None:
            self._opened = _OpenMixture(*self._places)
        return self._opened


class ShardRows:
    """Some columns of a shard, `messages` among them, that is read from its beginning to its end."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self._columns = columns
        self._file = open_shard(path)
        self._group = -1
        self._table = RECORD_SCHEMA.empty_table()

    def row(self, number: int) -> dict[str, Any]:
        """Bytes of a text that are no UTF-8 become U+FFFD."""
        group, offset = self._file.locate(number)
        if group != self._group:
            self._group, self._table = group, self._file.read([group], self._columns)
        return _to_row(self._table.slice(offset, 1))


def _to_row(table: pa.Table) -> dict[str, Any]:
    row: dict[str, Any]
    try:
        [row] = table.to_pylist()
    except UnicodeDecodeError:
        place = table.schema.get_field_index("messages")
        [row] = table.set_column(place, "messages", table["messages"].cast(_RAW_MESSAGES)).to_pylist()
        row["messages"] = [
            {name: (raw or b"").decode(errors="replace") for name, raw in message.items()}
            for message in row["messages"]
        ]
    return row


def kept(messages: list[Any], images: list[Any], turns: int) -> tuple[list[Any], list[Any]]:
    """The messages and images of a stored record that a mixture keeps."""
    if turns >= len(messages):
        return messages, images
    messages = messages[:turns]
    return messages, images[: sum(message["content"].count(IMAGE_TOKEN) for message in messages)]
