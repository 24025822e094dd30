"""Mixtures of records, written without the stages that make them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parrot.data.accounting import Account, write_balance
from parrot.data.records import Record, text_length
from parrot.data.shards import Indexed, index_table, write_index, write_shard

SHARD = "talk/part-00000.parquet"


@dataclass(frozen=True)
class MixedRecord(Record):
    """A record, and what a mixture's index says of it."""

    positions: int = 40
    copies: int = 1


def indexed(records: Sequence[MixedRecord]) -> list[Indexed]:
    return [
        Indexed(
            SHARD, row, record.id, record.source, record.language, text_length(record.messages),
            record.positions, record.copies, len(record.messages),
        )
        for row, record in enumerate(records)
    ]  # fmt: skip


def write_mixture(folder: Path, records: Sequence[MixedRecord]) -> tuple[Path, Path]:
    """Write records as one shard and a mixture of all of them; the folders `prepared` and `mixture`."""
    prepared, mixture = folder / "prepared", folder / "mixture"
    (prepared / SHARD).parent.mkdir(parents=True)
    mixture.mkdir()
    write_shard(prepared / SHARD, records)
    write_index(mixture, [index_table(indexed(records))])
    sources = Counter(record.source for record in records)
    write_balance(mixture, {name: Account(count, count, 0, 0, 0, 0) for name, count in sources.items()})
    return prepared, mixture
