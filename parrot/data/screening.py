"""What can be said of an entry before it meets the others of a mixture: partition by partition, anywhere.

An entry that is taken becomes a row: what a mixture's index would say of it, and whether it is refused,
because it is too long or asks what a benchmark asks. No picture is read.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parrot.config import Images, Mix, Model, Speed
from parrot.data.columns import Integers, Talks, read_rows, talks
from parrot.data.contamination import Benchmarks, contaminated
from parrot.data.digests import content_digests, digest
from parrot.data.draws import Copies
from parrot.data.executors import in_order
from parrot.data.lengths import Fit, Ruler, fit_all
from parrot.data.partitions import Partition
from parrot.data.records import count_images, messages_of, talk_of, text_length
from parrot.data.rejects import Rejected
from parrot.data.shards import INDEX_SCHEMA, open_shard
from parrot.files import atomic_file

_COLUMNS = ("id", "messages", "images.list.element.path", "length", "digest", "picture_digests", "looks")
_TOGETHER = 500
"""Records whose tokens and windows are in memory at a time."""
_COUNTED = re.compile(r"(#\d+)+$")
UNSTORED = -1
"""The `row` of an entry that `prepare` has rejected: of what it says nothing else is known."""
SCREENED_SCHEMA = pa.schema(
    [
        *(field.with_nullable(True) for field in INDEX_SCHEMA),
        pa.field("position", pa.int64()),  # of the entry among those of its language
        pa.field("images", pa.int32()),  # in the messages that are kept
        pa.field("mended", pa.bool_()),  # by `prepare`
        pa.field("digest", pa.binary(16)),  # of the messages and images that are kept
        pa.field("stem", pa.binary(16)),  # of source and id, without what makes an id unique: `#2`
        pa.field("cut", pa.string()),  # what is left out and why; null if nothing is
        pa.field("field", pa.string()),
        pa.field("refused", pa.string()),  # why it may not be trained on; null if it may
    ]
)


class Taken(NamedTuple):
    """A partition of a prepared source, and how often a mixture takes each of its entries."""

    number: int
    folder: Path
    partition: Partition
    copies: Copies
    start: int
    """Position of its first entry among those of its language."""

    @property
    def taken(self) -> int:
        """How many of them it takes."""
        return int(np.count_nonzero(self.copies))

    def file(self, work: Path) -> Path:
        """Where its rows are."""
        return work / self.folder.name / f"{self.number:05d}.arrow"


class Screen(NamedTuple):
    """What records are held against."""

    run: str
    """A worker of a cluster may live longer than the files are as they are."""
    mix: Mix
    model: Model
    images: Images
    vision: Path
    language: Path


def screen_all(
    mix: Mix,
    model: Model,
    images: Images,
    parts: Sequence[Taken],
    *,
    vision: Path,
    language: Path,
    work: Path,
    speed: Speed,
) -> Iterator[Taken]:
    """Write the rows of each partition into `work`, where they are not there yet; yields it when it is done.

    Raises:
        ParrotError: an input is missing or broken.
    """
    screen = Screen(uuid4().hex, mix, model, images, vision, language)
    yield from in_order(
        parts, partial(_screen_part, screen, work), lambda part: part.file(work).exists(), speed
    )


_mine = threading.local()
"""What a process, or a thread of a worker, has opened last: `screen`, and its `benchmarks` and `ruler`."""


def _screen_part(screen: Screen, work: Path, part: Taken) -> None:
    if getattr(_mine, "screen", None) != screen:
        _mine.benchmarks = Benchmarks(
            Path(screen.mix.benchmarks), screen.images.near_bits, screen.mix.same_question
        )
        _mine.ruler = Ruler(screen.model, screen.vision, screen.language)
        _mine.screen = screen
    batches = list(_rows(part, screen, _mine.benchmarks, _mine.ruler))
    table = pa.Table.from_batches(batches, SCREENED_SCHEMA).sort_by("position").combine_chunks()
    with atomic_file(part.file(work)) as file, pa.ipc.new_file(str(file), SCREENED_SCHEMA) as writer:
        writer.write_table(table)


def _rows(part: Taken, screen: Screen, benchmarks: Benchmarks, ruler: Ruler) -> Iterator[pa.RecordBatch]:
    """Of the entries that are taken and stored, then of those that `prepare` has rejected."""
    stored = np.ones(part.partition.entries, bool)
    stored[part.partition.rejected] = False
    rows = np.cumsum(stored) - 1
    mended = np.zeros(part.partition.entries, bool)
    mended[part.partition.mended] = True
    taken = np.flatnonzero(part.copies)
    chosen, refused = taken[stored[taken]], taken[~stored[taken]]
    table = read_rows(open_shard(part.folder / part.partition.shard), rows[chosen], _COLUMNS)
    for begin in range(0, len(chosen), _TOGETHER):
        some = chosen[begin : begin + _TOGETHER]
        found = _screened(table.slice(begin, len(some)), part.folder.name, screen, benchmarks, ruler)
        yield _batch(part, some, found | {"row": rows[some], "mended": mended[some]})
    yield _batch(part, refused, {"row": np.full(len(refused), UNSTORED)})


def _batch(part: Taken, places: Integers, columns: dict[str, Any]) -> pa.RecordBatch:
    """Rows of some entries of a partition; null where nothing is said."""
    source = part.folder.name
    constant = {"shard": f"{source}/{part.partition.shard}", "source": source,
                "language": part.partition.language}  # fmt: skip
    columns = columns | {"copies": part.copies[places], "position": part.start + places}
    columns |= {name: pa.repeat(value, len(places)) for name, value in constant.items()}
    return pa.record_batch(
        [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.nulls(len(places), field.type)
            for field in SCREENED_SCHEMA
        ],
        [field.name for field in SCREENED_SCHEMA],
    )


def _screened(
    table: pa.Table, source: str, screen: Screen, benchmarks: Benchmarks, ruler: Ruler
) -> dict[str, Any]:
    """Columns of what is found in stored records."""
    talk = talks(table["messages"])
    found = fit_all(talk, ruler, screen.model.max_length, screen.mix.too_long)
    refused = {place: fit for place, fit in enumerate(found) if isinstance(fit, Rejected)}
    fits = [fit if isinstance(fit, Fit) else None for fit in found]
    names, lengths, digests = (table[name].to_pylist() for name in ("id", "length", "digest"))
    counts = pc.list_value_length(table["picture_digests"]).to_pylist()
    pictures = _pictures(table) if any(counts) else {}
    for place, fit in enumerate(fits):
        if not fit or not fit.cut:
            continue
        messages = messages_of(talk, place)[: fit.turns]
        counts[place], lengths[place] = count_images(messages), text_length(messages)
        pictures[place] = [some[: counts[place]] for some in pictures.get(place, ((), ()))]
        [digests[place]] = content_digests(talk_of([messages]), [[own for _, own in pictures[place][0]]])
    for place, (images, looks) in pictures.items():
        if fits[place] and (same := benchmarks.same_picture(images, looks)):
            refused[place] = same
    kept = [fit.turns if fit else 0 for fit in fits]
    refused = _same_questions(talk, np.array(kept, np.int64), benchmarks) | refused
    why = [refused.get(place) for place in range(len(fits))]
    return {
        "id": names,
        "length": lengths,
        "digest": digests,
        "images": counts,
        "positions": [fit.positions if fit else 0 for fit in fits],
        "turns": [own or whole for own, whole in zip(kept, np.diff(talk.starts).tolist(), strict=True)],
        "stem": [digest(f"{source} {_stem(name)}".encode()) for name in names],
        "cut": [fit.cut or None if fit else None for fit in fits],
        "field": [one.field if one else None for one in why],
        "refused": [one.reason if one else None for one in why],
    }


def _same_questions(talk: Talks, kept: Integers, benchmarks: Benchmarks) -> dict[int, Rejected]:
    """What is said against records that ask what a benchmark asks.

    Args:
        kept: so many messages of each record count.
    """
    turns = np.diff(talk.starts)
    owners = np.repeat(np.arange(len(turns)), turns)
    numbers = np.arange(len(owners)) - talk.starts[owners]
    asks = np.asarray(pc.equal(talk.roles, "user")) & (numbers < kept[owners])
    owners, numbers = owners[asks], numbers[asks]
    found: dict[int, Rejected] = {}
    for place, where in benchmarks.same_questions(talk.texts.filter(pa.array(asks)).to_pylist()).items():
        found.setdefault(int(owners[place]), contaminated(int(numbers[place]), where))
    return found


def _stem(name: str) -> str:
    return _COUNTED.sub("", name) if "#" in name else name


def _pictures(table: pa.Table) -> dict[int, Sequence[Any]]:
    """Of each record that has pictures their names with their digests, and their looks."""
    columns = (table[name].to_pylist() for name in ("images", "picture_digests", "looks"))
    return {
        place: ([(image["path"], own) for image, own in zip(images, digests, strict=True)], looks)
        for place, (images, digests, looks) in enumerate(zip(*columns, strict=True))
        if images
    }
