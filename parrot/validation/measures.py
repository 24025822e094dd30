"""What is found of records, whatever the others are: column by column, and of pictures one by one."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parrot.data.columns import Integers, count_in, talks
from parrot.data.digests import content_digests, digest
from parrot.data.images import image_header
from parrot.data.records import IMAGE_TOKEN, LOST
from parrot.validation.near_duplicates import text_keys

STORED = ("messages", "images", "looks")
"""Columns of the shards that are looked at."""
_INDEXED = ("shard", "id", "source", "language", "positions", "copies")
_TYPES = {
    pa.string(): ("shard", "id", "source", "language", "roles", "longest_text"),
    pa.int64(): ("positions", "copies", "stored_length", "turns", "text_bytes", "empty_texts", "broken_texts",
                 "placeholders", "answer_placeholders", "images", "unreadable_images"),
    pa.float64(): ("shorter_side", "longer_side"),
    pa.binary(16): ("name_digest", "content_digest"),
    pa.binary(): ("near_keys",),
    pa.list_(pa.binary()): ("looks", "picture_digests"),
}  # fmt: skip
SCHEMA = pa.schema([(name, kind) for kind, names in _TYPES.items() for name in names])
"""`read_measures` says what each column is."""


def measure(indexed: pa.Table, stored: pa.Table, near_texts: bool, languages: bool) -> pa.Table:
    """The measures of records as a mixture has them.

    Args:
        indexed: their rows of its index.
        stored: the `STORED` columns of the same records.
        near_texts, languages: whether `near_keys` and `longest_text` are wanted.
    """
    talk = talks(stored["messages"], indexed["turns"].to_numpy().astype(np.int64))
    sizes, marks = pc.binary_length(talk.texts), count_in(talk.texts, IMAGE_TOKEN)
    blank = pc.or_(pc.equal(sizes, 0), pc.utf8_is_space(talk.texts))
    lost = count_in(talk.texts, LOST) > 0
    asked = talk.sums(marks * _numbers(pc.equal(talk.roles, "user")))
    turns, placed = np.diff(talk.starts), talk.sums(marks)
    whole = turns == _numbers(pc.list_value_length(stored["messages"]))
    pictures = _pictures(stored["images"], np.where(whole, np.iinfo(np.int64).max, placed))
    looks = values_of(stored["looks"])
    digests = [[digest(picture) for picture in some] for some in pictures]
    sides = [_measure_pictures(some) if some else (0, np.nan, np.nan) for some in pictures]
    unreadable, shorter, longer = zip(*sides, strict=True) if sides else ((), (), ())
    roles = pc.binary_join(pa.ListArray.from_arrays(talk.starts.astype(np.int32), talk.roles), " ")
    columns: dict[str, Any] = {
        "stored_length": indexed["length"],
        "roles": roles,
        "turns": turns,
        "text_bytes": talk.sums(_numbers(sizes)) - len(IMAGE_TOKEN) * placed,
        "empty_texts": talk.sums(_numbers(blank)),
        "broken_texts": talk.sums(lost),
        "placeholders": asked,
        "answer_placeholders": placed - asked,
        "images": [len(some) for some in pictures],
        "unreadable_images": unreadable,
        "shorter_side": shorter,
        "longer_side": longer,
        "name_digest": _name_digests(indexed),
        "content_digest": content_digests(talk, digests),
        "looks": [own[: len(some)] for own, some in zip(looks, pictures, strict=True)],
        "picture_digests": digests,
    } | {name: indexed[name] for name in _INDEXED}
    if near_texts or languages:
        bare = [text.replace(IMAGE_TOKEN, "") for text in talk.texts.to_pylist()]
        said = [bare[begin:end] for begin, end in pairwise(talk.starts.tolist())]
        columns["near_keys"] = _near_keys(said) if near_texts else None
        columns["longest_text"] = [max(texts, key=len, default="") for texts in said] if languages else None
    arrays = [_array(columns.get(field.name), field.type, len(indexed)) for field in SCHEMA]
    return pa.table(arrays, SCHEMA)


def _numbers(found: pa.Array | pa.ChunkedArray) -> Integers:
    return np.asarray(found).astype(np.int64)


def _array(values: Any, kind: pa.DataType, count: int) -> pa.Array | pa.ChunkedArray:
    if values is None:
        return pa.nulls(count, kind)
    return values.cast(kind) if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)


def values_of(column: pa.ChunkedArray) -> Sequence[Any]:
    """The values of a column that is hardly ever filled."""
    if column.null_count == len(column):
        return [None] * len(column)
    if pa.types.is_list(column.type) and not pc.max(pc.list_value_length(column)).as_py():
        return [[]] * len(column)
    found: list[Any] = column.to_pylist()
    return found


def _pictures(column: pa.ChunkedArray, kept: Integers) -> list[list[bytes]]:
    """Of each record the first pictures, so many as are kept."""
    return [
        [image["bytes"] or b"" for image in some[:count]]
        for some, count in zip(values_of(column), kept.tolist(), strict=True)
    ]


def _measure_pictures(pictures: Sequence[bytes]) -> tuple[int, float, float]:
    """How many are unreadable, and the shortest and the longest side of the others."""
    sides: list[float] = []
    unreadable = 0
    for picture in pictures:
        try:
            width, height, _ = image_header(picture)
        except ValueError:
            unreadable += 1
            continue
        sides += width, height
    return unreadable, min(sides, default=np.nan), max(sides, default=np.nan)


def _name_digests(indexed: pa.Table) -> list[bytes]:
    """By which it is found that source and id come again."""
    names = zip(indexed["source"].to_pylist(), indexed["id"].to_pylist(), strict=True)
    return [digest(f"{source}\n{name}".encode()) for source, name in names]


def _near_keys(said: Sequence[Sequence[str]]) -> list[bytes | None]:
    """Of the texts of each record together; none of one that is too short."""
    keys: list[bytes | None] = [None] * len(said)
    for place, own in zip(*text_keys(["\n".join(texts) for texts in said]), strict=True):
        keys[place] = own.tobytes()
    return keys
