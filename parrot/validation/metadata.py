"""What the checks look at: one light row for each record, measures in place of texts and pictures."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from parrot.config import Speed
from parrot.data.executors import in_order
from parrot.data.seen import FirstSeen
from parrot.data.shards import index_groups, iterate
from parrot.files import atomic_file
from parrot.validation.measures import SCHEMA, Measures, measure
from parrot.validation.near_duplicates import text_keys

_TOGETHER = 500
"""Records whose texts are in memory at a time."""
_AS_THEY_ARE = ("looks", "picture_digests", "longest_text", "near_keys")
"""Columns whose values stay Python's own."""
_SCHEMA = SCHEMA.remove(SCHEMA.get_field_index("text")).append(pa.field("near_keys", pa.binary()))


def read_metadata(
    prepared: Path,
    mixture: Path,
    near_texts: bool = False,
    speed: Speed | None = None,
    work: Path | None = None,
) -> Iterator[pd.DataFrame]:
    """A frame for each row group of the index; one row describes one record, as the mixture has it:

    shard, id, source, language, positions, copies, stored_length: as its index says; repeated_id,
    duplicate: an earlier record has the same source and id, or the same texts and pictures; roles: as in
    "user assistant"; turns; text_bytes: of all messages, without image placeholders; longest_text: of one;
    near_keys: of all messages together, as `text_keys` gives them, in bytes; none of one that is too short;
    empty_texts, broken_texts: messages without text (a question may be an image alone) or with lost
    characters; images, unreadable_images; placeholders: in the user's turns; answer_placeholders: in the
    others; shorter_side, longer_side: pixels, over all images of the record, none without image;
    picture_digests, looks: a list.

    Args:
        near_texts: whether near_keys are wanted.
        speed: how many processes, or which cluster, measure records; the frames are the same.
        work: folder for what they find, until it is read.
    """
    seen_names, seen_contents = FirstSeen(), FirstSeen()
    if speed and work and (speed.prepare_processes > 1 or speed.cluster):
        tables = _measured_elsewhere(prepared, mixture, near_texts, speed, work)
    else:
        records = iterate(prepared, mixture)
        tables = (_table(islice(records, size), near_texts) for size in index_groups(mixture))
    for table in tables:
        columns = {name: table[name].to_pylist() for name in table.column_names}
        names, contents = columns.pop("name_digest"), columns.pop("content_digest")
        columns["repeated_id"] = [seen_names.earlier(name) is not None for name in names]
        columns["duplicate"] = [seen_contents.earlier(content) is not None for content in contents]
        yield pd.DataFrame(
            {
                name: pd.Series(values, dtype=object if name in _AS_THEY_ARE else None)
                for name, values in columns.items()
            }
        )


def _table(records: Iterator[dict[str, Any]], near_texts: bool) -> pa.Table:
    """The measures of records, and their near_keys."""
    return pa.Table.from_batches(_batches(records, near_texts), _SCHEMA)


def _batches(records: Iterator[dict[str, Any]], near_texts: bool) -> Iterator[pa.RecordBatch]:
    measures = map(measure, records)
    while some := list(islice(measures, _TOGETHER)):
        columns: dict[str, Sequence[Any]] = dict(zip(Measures._fields, zip(*some, strict=True), strict=True))
        texts = columns.pop("text")
        keys: list[bytes | None] = [None] * len(texts)
        if near_texts:
            places, found = text_keys(texts)
            for place, own in zip(places, found, strict=True):
                keys[place] = own.tobytes()
        columns["near_keys"] = keys
        yield pa.record_batch(
            [pa.array(columns[field.name], field.type) for field in _SCHEMA], schema=_SCHEMA
        )


def _measured_elsewhere(
    prepared: Path, mixture: Path, near_texts: bool, speed: Speed, work: Path
) -> Iterator[pa.Table]:
    """The same tables; each row group of the index is measured by one of several processes."""
    task = partial(_measure_group, prepared, mixture, near_texts, work)
    groups = range(len(index_groups(mixture)))
    for group in in_order(groups, task, lambda group: _file(work, group).exists(), speed):
        file = _file(work, group)
        with pa.OSFile(str(file)) as opened:
            yield pa.ipc.open_file(opened).read_all()
        file.unlink()


def _measure_group(prepared: Path, mixture: Path, near_texts: bool, work: Path, group: int) -> None:
    table = _table(iterate(prepared, mixture, [group]), near_texts)
    with atomic_file(_file(work, group)) as partial_, pa.ipc.new_file(str(partial_), _SCHEMA) as writer:
        writer.write_table(table)


def _file(work: Path, group: int) -> Path:
    return work / f"measures-{group:06d}.arrow"
