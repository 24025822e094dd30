"""Why an entry of a source did not become a record: nothing is dropped in silence."""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from parrot.errors import ParrotError

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
        # The name of a file on disk that is quoted may be no Unicode.
        self.reason = reason.encode(errors="backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Reject:
    """An entry of a source, in the file of a language, and what is wrong in which of its fields."""

    source: str
    language: str
    record: str
    field: str
    reason: str
    position: int
    """In the file of the language, from 0."""
    entry: str
    """The whole of it as JSON, as its publisher has it; as it was prepared where `mix` rejects it."""


_SCHEMA = pa.schema(
    [
        pa.field(name, pa.int64() if name == "position" else pa.string(), nullable=False)
        for name in Reject.__slots__
    ]
)
_BATCH, _BATCH_CHARACTERS = 1000, 16 << 20
"""Rejects that are in memory at once, and from how many characters of their entries on it is fewer."""


def kind(reason: str) -> str:
    """`missing image: images.zip has no 7.jpg` -> `missing image`."""
    return reason.partition(":")[0]


def as_json(entry: Any) -> str:
    """An entry on one line; bytes in base64, and escaped where a text is no whole Unicode."""
    text = json.dumps(entry, ensure_ascii=False, default=_base64)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(entry, default=_base64)
    return text


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


class RejectsWriter:
    """Writes the rejects table, a column for each field of `Reject`, as they come; also if none does."""

    def __init__(self, path: Path) -> None:
        self.kinds: Counter[str] = Counter()
        """How often each kind of reason occurred."""
        self.noted = 0
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="none")
        self._waiting: list[Reject] = []
        self._characters = 0

    def add(self, reject: Reject) -> None:
        self.kinds[kind(reject.reason)] += 1
        self._list(reject)

    def note(self, cut: Reject) -> None:
        """List a record that is no reject, but was cut."""
        self.noted += 1
        self._list(cut)

    def _list(self, row: Reject) -> None:
        self._waiting.append(row)
        self._characters += len(row.entry)
        if len(self._waiting) == _BATCH or self._characters >= _BATCH_CHARACTERS:
            self._write()

    def _write(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(list(map(asdict, self._waiting)), _SCHEMA))
        self._waiting.clear()
        self._characters = 0

    def __enter__(self) -> "RejectsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._waiting and error is None:
            self._write()
        self._writer.close()


def read_rejects(path: Path) -> Iterator[Reject]:
    """The rows of a table that `RejectsWriter` wrote.

    Raises:
        ParrotError: the file is missing or damaged, or of an older version.
    """
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(_SCHEMA):
                raise ParrotError(f"{path}: other columns than expected; run the stage that wrote it again")
            for group in range(file.num_row_groups):
                yield from (Reject(**row) for row in file.read_row_group(group).to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise ParrotError(
            f"{path}: not readable as Parquet ({error}); run the stage that wrote it again"
        ) from None


def too_many(why: Counter[str], total: int, limit: float, name: str, table: Path) -> ParrotError | None:
    """The error if of `total` entries none is left, or a larger share than `limit` was rejected.

    Says how many, why most of them, and in which table all are listed.
    """
    rejected = why.total()
    if rejected <= limit * total and rejected < total:
        return None
    common = ", ".join(f"{reason} ({count})" for reason, count in why.most_common(3))
    return ParrotError(
        f"{name}: {rejected} of {total} entries rejected, max_reject_share allows {limit:g}; mostly "
        f"{common}; all are listed in {table}"
    )
