"""Partitions of a prepared source: which entries of which file went into which shard, and which nowhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from parrot.config import Split
from parrot.data.checksums import SealedFile, seal
from parrot.errors import ParrotError

PARTITIONS = "partitions.parquet"
_LEFT_OUT = b"left_out"
_PARTITIONS_SCHEMA = pa.schema(
    [
        pa.field("language", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("entries", pa.int32(), nullable=False),
        pa.field("rejected", pa.list_(pa.int32()), nullable=False),
        pa.field("mended", pa.list_(pa.int32()), nullable=False),
    ]
)


class Partition(NamedTuple):
    """Entries of a source's file that follow one another, and are one shard."""

    language: str
    shard: str
    entries: int
    """How many the file has there."""
    rejected: list[int]
    """Which of them, counted from 0, are no records; rejects.parquet lists these in the same order."""
    mended: list[int]
    """Which of them are records that differ from what was published, by rules that mended.parquet names."""


def write_partitions(folder: Path, partitions: Sequence[Partition], left_out: int = 0) -> None:
    """Put them into one file, sealed, with the number of entries that `only` of the format left out."""
    path = folder / PARTITIONS
    rows = [partition._asdict() for partition in partitions]
    schema = _PARTITIONS_SCHEMA.with_metadata({_LEFT_OUT: str(left_out)})
    pq.write_table(pa.Table.from_pylist(rows, schema), path, compression="none")
    seal(path)


def read_partitions(folder: Path) -> list[Partition]:
    """Where the entries of a prepared source went.

    Raises:
        ParrotError: `prepare` did not write the folder, or the file is damaged.
    """
    return [Partition(**row) for row in _open(folder).read().to_pylist()]


def read_left_out(folder: Path) -> int:
    """How many entries of a prepared source are in no partition, because `only` of the format left them out.

    Raises:
        ParrotError: as for `read_partitions`.
    """
    return int((_open(folder).schema.metadata or {}).get(_LEFT_OUT, 0))


def _open(folder: Path) -> SealedFile:
    file = SealedFile(folder / PARTITIONS)
    if not file.schema.equals(_PARTITIONS_SCHEMA):
        raise ParrotError(f"{folder / PARTITIONS}: other columns than expected; run the stage prepare again")
    return file


def check_prepared(prepared: Path, sources: Sequence[str], split: Split) -> None:
    """See that the sources of the split are prepared, and no others.

    Raises:
        ParrotError: names the first that is not, or that is no source of the split.
    """
    for name in sources:
        if not (prepared / name).is_dir():
            raise ParrotError(f"{prepared / name}: not found; run the stage prepare@{name} first")
    for folder in sorted(prepared.iterdir()):
        if folder.is_dir() and folder.name not in sources:
            raise ParrotError(
                f"{folder}: is no source of mix.{split}; what a source left that was removed: delete it"
            )
