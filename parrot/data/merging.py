"""The screened entries of several files as a mixture has them: drawn by turns, those of a file in order."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parrot.data.reject_tables import REJECTS, read_rejects
from parrot.data.rejects import Reject, as_json
from parrot.data.screening import Taken
from parrot.data.shards import ShardRows

_BATCH = 10_000
"""Entries that are in memory at a time."""
_TALK = ("messages", "images.list.element.path")


class Stream:
    """The entries of one file of a source that a mixture takes."""

    def __init__(self, parts: Sequence[Taken], refused: int) -> None:
        """`refused`: how many of the source's entries before these `prepare` has rejected."""
        self.parts = parts
        self.source = parts[0].folder.name
        self.language = parts[0].partition.language
        self.taken = sum(part.taken for part in parts)
        self._refused = refused

    def tables(self, work: Path, columns: Sequence[str]) -> "_Tables":
        """Their rows, as `screen_all` put them into `work`."""
        return _Tables([part.file(work) for part in self.parts if part.taken], columns)

    def rejects(self) -> Iterator[Reject]:
        """Those of them that `prepare` has rejected."""
        table = read_rejects(self.parts[0].folder / REJECTS)
        rejects = islice(table, self._refused, None)
        for part in self.parts:
            for place, reject in zip(part.partition.rejected, rejects, strict=False):
                if part.copies[place]:
                    yield reject


class _Tables:
    """Rows that lie in several files, one behind the other."""

    def __init__(self, files: Sequence[Path], columns: Sequence[str]) -> None:
        self._files = iter(files)
        self._columns = columns
        self._waiting: list[pa.Table] = []

    def take(self, count: int) -> list[pa.Table]:
        """The next rows, so many."""
        found: list[pa.Table] = []
        while count:
            if not self._waiting:
                with pa.memory_map(str(next(self._files))) as file:
                    self._waiting.append(pa.ipc.open_file(file).read_all().select(self._columns))
            table = self._waiting.pop()
            if len(table) > count:
                self._waiting.append(table.slice(count))
            found.append(table.slice(0, count))
            count -= len(found[-1])
        return found


def merged(
    streams: Sequence[Stream], order: NDArray[np.uint16], work: Path, columns: Sequence[str]
) -> Iterator[tuple[int, pa.Table]]:
    """The entries in the order of the mixture, some at a time, with the number of the first.

    Args:
        order: of which stream each entry is.
    """
    tables = [stream.tables(work, columns) for stream in streams]
    for begin in range(0, len(order), _BATCH):
        numbers = order[begin : begin + _BATCH]
        counts = np.bincount(numbers, minlength=len(streams)).tolist()
        rows = [part for some, count in zip(tables, counts, strict=True) for part in some.take(count)]
        places = np.empty(len(numbers), np.int64)
        places[np.argsort(numbers, kind="stable")] = np.arange(len(numbers))
        yield begin, pa.concat_tables(rows).combine_chunks().take(places)


class Originals:
    """Screened entries as `prepare` stored them, to be listed as rejects; those of each file in order."""

    def __init__(self, prepared: Path) -> None:
        self._prepared = prepared
        self._in_hand: dict[tuple[str, str], ShardRows] = {}

    def reject(self, row: Mapping[str, Any], field: str, reason: str) -> Reject:
        """A row of `SCREENED_SCHEMA`, with those messages and images of its entry that are kept."""
        file, path = (row["source"], row["language"]), self._prepared / row["shard"]
        if file not in self._in_hand or self._in_hand[file].path != path:
            self._in_hand[file] = ShardRows(path, _TALK)
        stored = self._in_hand[file].row(row["row"])
        names = [image["path"] for image in stored["images"]]
        talk = [{"role": turn["role"], "content": turn["content"]} for turn in stored["messages"]]
        entry = {"id": row["id"], "images": names[: row["images"]], "messages": talk[: row["turns"]]}
        return Reject(*file, row["id"], field, reason, row["position"], as_json(entry))
