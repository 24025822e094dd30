"""Records that repeat an earlier one: its name, which may not be, or all its texts and pictures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from parrot.data.checksums import SealedFile
from parrot.data.columns import Integers, keys_of
from parrot.data.repeats import Repeats
from parrot.data.shards import open_index
from parrot.validation.contract import FAILURE_COLUMNS


class Repeated:
    """Looks for them in the tables of `read_measures`; closes its files at the block's end."""

    def __init__(self) -> None:
        self._records = 0
        self._names, self._contents = Repeats(), Repeats()

    def __enter__(self) -> "Repeated":
        return self

    def __exit__(self, *error: object) -> None:
        for search in (self._names, self._contents):
            search.__exit__(*error)

    def add(self, measures: pa.Table) -> None:
        numbers = np.arange(self._records, self._records + len(measures))
        self._records += len(measures)
        for search, name in ((self._names, "name_digest"), (self._contents, "content_digest")):
            search.add(numbers, keys_of(measures[name]))

    def failures(self, mixture: Path) -> pd.DataFrame:
        """Those with the source and id of an earlier one, as rows of `FAILURE_COLUMNS`."""
        rows = index_rows(mixture, _later(self._names), ("shard", "source", "id")).to_pandas()
        found = rows.rename(columns={"id": "record"}).assign(
            field="id", check="source and id must be unique", value=rows["id"]
        )
        return found[list(FAILURE_COLUMNS)].astype(str)

    def samples(self, mixture: Path) -> int:
        """How often training sees one that says what an earlier one says."""
        return int(index_rows(mixture, _later(self._contents), ("copies",))["copies"].to_numpy().sum())


def _later(search: Repeats) -> Integers:
    return np.sort(np.concatenate([later for later, _ in search.pairs()]))


def index_rows(mixture: Path, numbers: Integers, columns: tuple[str, ...]) -> pa.Table:
    """Some rows of a mixture's index.

    Args:
        numbers: in order.
    """
    index: SealedFile = open_index(mixture)
    found, start = [index.read([], columns)], 0
    for group, size in enumerate(index.group_sizes):
        here = numbers[(numbers >= start) & (numbers < start + size)] - start
        if len(here):
            found.append(index.read([group], columns).take(here))
        start += size
    return pa.concat_tables(found)
