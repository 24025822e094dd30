"""Why an entry of a source did not become a record."""

from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from parrot.data.records import Reject
from parrot.files import atomic_file

_SCHEMA = pa.schema([pa.field(field.name, pa.string(), nullable=False) for field in fields(Reject)])


class Rejected(Exception):
    """Raised where an entry turns out to be unusable.

    Args:
        field: where in the entry, such as `conversations[2].value`.
        reason: `kind: detail`; metrics count the kinds, a person reads both.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def kind(reason: str) -> str:
    """`missing image: images.zip has no 7.jpg` -> `missing image`."""
    return reason.partition(":")[0]


def write_rejects(path: Path, rejects: Iterable[Reject]) -> None:
    """The rejects table in Parquet: source, record, field, reason; written also when empty."""
    rows = [dict(zip(_SCHEMA.names, astuple(reject), strict=True)) for reject in rejects]
    with atomic_file(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), partial, compression="none")
