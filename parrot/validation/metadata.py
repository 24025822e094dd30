"""What the checks look at: one light row for each record, measures in place of texts and pictures."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from parrot.config import Speed
from parrot.data.columns import read_rows, together
from parrot.data.executors import in_order
from parrot.data.shards import open_index, open_shard
from parrot.files import atomic_file
from parrot.validation.measures import SCHEMA, STORED, measure, values_of

_TOGETHER, _BYTES_TOGETHER = 500, 64 << 20
"""Records whose texts and pictures are in memory at a time, and from how many bytes on it is fewer."""
_AS_THEY_ARE = ("looks", "picture_digests", "longest_text", "near_keys")
"""Columns whose values stay Python's own."""
_KEYS = ("name_digest", "content_digest")


def read_measures(
    prepared: Path,
    mixture: Path,
    *,
    near_texts: bool = False,
    languages: bool = False,
    speed: Speed,
    work: Path,
) -> Iterator[pa.Table]:
    """A table for each row group of the index; one row describes one record, as the mixture has it:

    shard, id, source, language, positions, copies, stored_length: as its index says; name_digest,
    content_digest: of source and id, of texts and pictures; roles: as in "user assistant"; turns; text_bytes:
    of all messages, without image placeholders; longest_text: of one; near_keys: of all messages together, as
    `text_keys` gives them, in bytes; none of one that is too short; empty_texts, broken_texts: messages
    without text (a question may be an image alone) or with lost characters; images, unreadable_images;
    placeholders: in the user's turns; answer_placeholders: in the others; shorter_side, longer_side: pixels,
    over all images of the record, none without image; picture_digests, looks: a list.

    Args:
        near_texts: whether near_keys are wanted.
        languages: whether longest_text is wanted.
        speed: how many processes, or which cluster, measure records; the tables are the same.
        work: folder for what they find, until it is read.
    """
    task = partial(_measure_group, prepared, mixture, near_texts, languages, work)
    groups = range(len(open_index(mixture).group_sizes))
    for group in in_order(groups, task, lambda group: _file(work, group).exists(), speed):
        file = _file(work, group)
        with pa.OSFile(str(file)) as opened:
            measures = pa.ipc.open_file(opened).read_all()
        file.unlink()
        yield measures


def as_frame(measures: pa.Table) -> pd.DataFrame:
    """Measures, but for digests that tell nothing of the record alone."""
    return pd.DataFrame(
        {
            name: pd.Series(values_of(measures[name]), dtype=object)
            if name in _AS_THEY_ARE
            else measures[name].to_pandas()
            for name in measures.column_names
            if name not in _KEYS
        }
    )


def _measure_group(
    prepared: Path, mixture: Path, near_texts: bool, languages: bool, work: Path, group: int
) -> None:
    """Of the records in a row group of the index; those in one shard are read together."""
    index = open_index(mixture).read([group])
    names, shards = np.unique(index["shard"].to_numpy().astype(str), return_inverse=True)
    rows = index["row"].to_numpy().astype(np.int64)
    tables, order = [SCHEMA.empty_table()], []
    for number, name in enumerate(names):
        file, places = open_shard(prepared / name), np.flatnonzero(shards == number)
        for batch in together(file, rows[places], _TOGETHER, _BYTES_TOGETHER):
            some = places[batch]
            stored = read_rows(file, rows[some], STORED)
            tables.append(measure(index.take(some), stored, near_texts, languages))
            order.append(some)
    table = pa.concat_tables(tables).take(np.argsort(np.concatenate(order)))
    with atomic_file(_file(work, group)) as partial_, pa.ipc.new_file(str(partial_), SCHEMA) as writer:
        writer.write_table(table)


def _file(work: Path, group: int) -> Path:
    return work / f"measures-{group:06d}.arrow"
