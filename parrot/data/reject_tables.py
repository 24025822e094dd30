"""Tables of what was rejected, or was changed: sealed as shards are, so that no damaged byte counts."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from parrot.data.checksums import SealedFile, seal
from parrot.data.rejects import Reject, kind
from parrot.errors import ParrotError

REJECTS = "rejects.parquet"
_SCHEMA = pa.schema(
    [
        pa.field(name, pa.int64() if name == "position" else pa.string(), nullable=False)
        for name in Reject.__slots__
    ]
)
_BATCH, _BATCH_CHARACTERS = 1000, 16 << 20
"""Rejects that are in memory at once, and from how many characters of their entries on it is fewer."""


class RejectsWriter:
    """Writes the rejects table, a column for each field of `Reject`, as they come; also if none does."""

    def __init__(self, path: Path) -> None:
        self.kinds: Counter[str] = Counter()
        """How often each kind of reason occurred."""
        self.noted = 0
        self._path = path
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
        if error is None:
            seal(self._path)


def read_rejects(path: Path) -> Iterator[Reject]:
    """The rows of a table that `RejectsWriter` wrote.

    Raises:
        ParrotError: the file is missing or damaged, or of an older version.
    """
    file = _open(path)
    for group in range(len(file.group_sizes)):
        yield from (Reject(**row) for row in file.read([group]).to_pylist())


def count_rejects(path: Path) -> int:
    """How many rows it has.

    Raises:
        ParrotError: as `read_rejects`.
    """
    return sum(_open(path).group_sizes)


def _open(path: Path) -> SealedFile:
    file = SealedFile(path)
    if not file.schema.equals(_SCHEMA):
        raise ParrotError(f"{path}: other columns than expected; run the stage that wrote it again")
    return file
