"""Why an entry of a source did not become a record: nothing is dropped in silence."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from parrot.errors import ParrotError
from parrot.files import atomic_file

REJECTS = "rejects.parquet"


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


@dataclass(frozen=True, slots=True)
class Reject:
    """An entry of a source, in the file of a language, and what is wrong in which of its fields."""

    source: str
    language: str
    record: str
    field: str
    reason: str


_SCHEMA = pa.schema([pa.field(field.name, pa.string(), nullable=False) for field in fields(Reject)])


def kind(reason: str) -> str:
    """`missing image: images.zip has no 7.jpg` -> `missing image`."""
    return reason.partition(":")[0]


def kinds(rejects: Iterable[Reject]) -> Counter[str]:
    """How often each kind of reason occurs."""
    return Counter(kind(reject.reason) for reject in rejects)


def write_rejects(path: Path, rejects: Iterable[Reject]) -> None:
    """The rejects table in Parquet, a column for each field of `Reject`; written also when empty."""
    with atomic_file(path) as partial:
        pq.write_table(pa.Table.from_pylist(list(map(asdict, rejects)), _SCHEMA), partial, compression="none")


def read_rejects(path: Path) -> list[Reject]:
    """The rows of a table that `write_rejects` wrote.

    Raises:
        ParrotError: the file is missing or damaged.
    """
    try:
        return [Reject(**row) for row in pq.read_table(path, schema=_SCHEMA).to_pylist()]
    except (pa.ArrowException, OSError) as error:
        raise ParrotError(
            f"{path}: not readable as Parquet ({error}); run the stage that wrote it again"
        ) from None


def too_many(
    rejects: Sequence[Reject], total: int, limit: float, name: str, table: Path
) -> ParrotError | None:
    """The error if of `total` entries none is left, or a larger share than `limit` was rejected.

    Says how many, why most of them, and in which table all are listed.
    """
    if len(rejects) <= limit * total and len(rejects) < total:
        return None
    common = ", ".join(f"{reason} ({count})" for reason, count in kinds(rejects).most_common(3))
    return ParrotError(
        f"{name}: {len(rejects)} of {total} entries rejected, max_reject_share allows {limit:g}; mostly "
        f"{common}; all are listed in {table}"
    )
