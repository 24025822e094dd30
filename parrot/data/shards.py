"""Folders of Parquet shards: written with small row groups, read at random or from end to end.

Nothing is compressed: the pictures are already, and a codec's output could depend on the machine. All
is checksummed, and checked when it is read.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from parrot.data.checksums import SealedFile, seal
from parrot.data.records import RECORD_SCHEMA, Record, to_row
from parrot.errors import ParrotError

GROUP_ROWS = 100
GROUP_BYTES = 2 << 20
"""What one random access may have to read: a row group holds no more than this, or one row."""


class ShardWriter:
    """Writes records to `folder/<folder's name>-00000-of-00002.parquet`, …; `close` gives the final names."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._shards: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[dict[str, object]] = []
        self._group_size = 0
        self._shard_size = 0

    def write(self, record: Record) -> None:
        row = to_row(record)
        size = len(record.id) + len(record.source) + sum(len(image.bytes) for image in record.images)
        size += sum(len(message.content.encode()) for message in record.messages)
        if self._rows and (len(self._rows) == GROUP_ROWS or self._group_size + size > GROUP_BYTES):
            self._end_group()
        if self._shard_size and self._shard_size + size > self._shard_bytes:
            self._end_shard()
        self._rows.append(row)
        self._group_size += size
        self._shard_size += size

    def close(self) -> None:
        self._end_shard()
        count = len(self._shards)
        for number, shard in enumerate(self._shards):
            shard.rename(shard.with_name(f"{self._folder.name}-{number:05d}-of-{count:05d}.parquet"))

    def _end_group(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._shards.append(self._folder / f"{len(self._shards):05d}.parquet")
            self._writer = pq.ParquetWriter(
                self._shards[-1],
                RECORD_SCHEMA,
                compression="none",
                write_page_checksum=True,  # for readers that do not know ours
                # Of a picture neither a dictionary nor a smallest value is of use.
                use_dictionary=["source", "language", "messages.list.element.role"],
                write_statistics=["id", "source", "language", "length"],
            )
        self._writer.write_table(pa.Table.from_pylist(self._rows, RECORD_SCHEMA))
        self._rows = []
        self._group_size = 0

    def _end_shard(self) -> None:
        self._end_group()
        if self._writer is not None:
            self._writer.close()
            seal(self._shards[-1])
        self._writer = None
        self._shard_size = 0


class RecordDataset:
    """The records of a folder of shards, by number; a map-style data set for training.

    `dataset[i]` is a row of `RECORD_SCHEMA` as a dictionary, but for its images, which are
    `[bytes, …]`, encoded. A record is there as often as its `copies` say.
    Only languages and lengths are held in memory. A record is read with its row group (at most
    2 MiB) from the memory-mapped shard, which costs less than decoding its picture.

    Raises:
        ParrotError: the folder holds no shards, files that are not shards of records, or (then when
            it is read) a damaged one.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._shards = find_shards(self.folder)
        self._groups: list[tuple[int, int]] = []
        """(shard, row group in it)"""
        self._files: dict[int, SealedFile] = {}
        sizes: list[int] = []
        light = []
        for shard in range(len(self._shards)):
            file = self._file(shard)
            groups = range(len(file.group_sizes))
            light.append(file.read(groups, ["language", "length", "copies"]))
            self._groups += [(shard, group) for group in groups]
            sizes += file.group_sizes
        self._starts = [0, *accumulate(sizes)]
        columns = pa.concat_tables(light)
        self._rows = np.repeat(np.arange(len(columns)), columns["copies"])
        """Of each sample, its record's place in the shards."""
        samples = columns.take(self._rows)
        self.languages: list[str] = samples["language"].to_pylist()
        """Of each sample."""
        self.lengths: list[int] = samples["length"].to_pylist()
        """Of each sample: UTF-8 bytes of all its messages."""

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder} has {len(self)} records, none has number {index}")
        place = int(self._rows[index])
        number = bisect_right(self._starts, place) - 1
        shard, group = self._groups[number]
        table = self._file(shard).read([group])
        row: dict[str, Any] = table.slice(place - self._starts[number], 1).to_pylist()[0]
        row["images"] = [image["bytes"] for image in row["images"]]
        return row

    def __getstate__(self) -> dict[str, Any]:
        """Open files stay behind when a DataLoader sends the data set to a worker."""
        return self.__dict__ | {"_files": {}}

    def _file(self, shard: int) -> SealedFile:
        if shard not in self._files:
            self._files[shard] = _open(self._shards[shard])
        return self._files[shard]


def iterate(
    folder: Path | str, columns: Sequence[str] | None = None
) -> Iterator[tuple[Path, pa.RecordBatch]]:
    """Each shard's path with its row groups, each a batch of at most 100 rows, in order."""
    for shard in find_shards(Path(folder)):
        file = _open(shard)
        for group in range(len(file.group_sizes)):
            for batch in file.read([group], columns).combine_chunks().to_batches():
                yield shard, batch


def find_shards(folder: Path) -> list[Path]:
    """The shards of a folder in order.

    Raises:
        ParrotError: there are none, or not as many as their names say.
    """
    shards = sorted(folder.glob("*-of-*.parquet"))
    if not shards:
        raise ParrotError(f"{folder}: holds no shards (*-of-*.parquet); run the stage prepare")
    if not shards[-1].stem.endswith(f"-of-{len(shards):05d}"):
        raise ParrotError(
            f"{folder}: a shard is missing, there are {len(shards)}; run the stage prepare again"
        )
    return shards


def _open(shard: Path) -> SealedFile:
    file = SealedFile(shard)
    if not file.schema.equals(RECORD_SCHEMA):
        raise ParrotError(f"{shard}: not a shard of records (other columns); run the stage prepare again")
    return file
