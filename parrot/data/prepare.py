"""One source's upstream files -> Parquet shards of records, a table of what was rejected, and counts."""

import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pyarrow.compute as pc
from tqdm import tqdm

from parrot.config import Images, Prepare, Source, Speed
from parrot.data.checksums import SealedFile
from parrot.data.dataset_card import write_dataset_card
from parrot.data.executors import in_order
from parrot.data.partitions import PARTITIONS, read_partitions, write_partitions
from parrot.data.parts import AND, MENDED, RECORDS, Part, gather, make_part
from parrot.data.reject_tables import REJECTS, RejectsWriter, read_rejects
from parrot.data.rejects import too_many
from parrot.data.shards import open_shard
from parrot.data.sources.reading import SourceReader
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json

_NEAR = 0.05
"""What `expected` may be off: publishers round."""


def prepare(
    languages: Sequence[str],
    images: Images,
    prepare: Prepare,
    sources: Mapping[str, Source],
    speed: Speed,
    *,
    source: str,
    output: Path,
    metrics: Path,
    work: Path,
) -> dict[str, Any]:
    """Make records of one source, in shards, and a table of what was rejected.

    Writes `output/part-*.parquet`, `output/partitions.parquet`, `output/rejects.parquet`,
    `output/mended.parquet` (which records are not as published, and by which rules), `output/README.md` (the
    card) and `metrics`. The same inputs give the same bytes, with any number of processes or workers, also if
    a run is killed and begun again with the same `work`: there each partition is put as soon as it is done.
    Every picture is decoded.

    Args:
        languages: whose files are read, in this order, of a source that has one for each.
        source: which of `sources`.

    Returns:
        The metrics: `read` entries are as many as were `kept` as they are, `mended`, `rejected` and, by the
        format, `left_out`; by which rules and why; and how many images the records have.

    Raises:
        ParrotError: an input is missing or broken, or has another number of entries than it should; then
            `output` stays as it was. Or more are rejected than `max_reject_share` allows; then it holds the
            tables of what was rejected and mended alone.
    """
    reader = _open_source(source, sources, images)
    reader.check_inputs(languages)
    parts = gather(reader, languages, prepare.partition_records)
    read: list[int] = []
    with tqdm(desc=f"prepare {source}", unit=" entries") as progress:
        for entries in _made(parts, reader, work, speed):
            read.append(entries)
            progress.update(entries)
    if not read:
        files = ", ".join(map(str, reader.source.by_language(languages).values()))
        raise ParrotError(f"{files}: no entries; correct sources.{source}")
    folders = [work / _name(number) for number in range(len(read))]
    partitions = [partition for folder in folders for partition in read_partitions(folder)]
    counts = [_count(folder / RECORDS) for folder in folders]
    for folder, entries, (records, _), partition in zip(folders, read, counts, partitions, strict=True):
        if not entries == partition.entries == records + len(partition.rejected):
            raise ParrotError(
                f"{source}: {entries} entries became {records} records and {len(partition.rejected)} "
                f"rejects: one was lost or counted twice, in {folder}; delete that and run the stage again"
            )
    with atomic_directory(output) as partial:
        with RejectsWriter(partial / REJECTS) as rejects, RejectsWriter(partial / MENDED) as mends:
            rules: Counter[str] = Counter()
            for folder in folders:
                for reject in read_rejects(folder / REJECTS):
                    rejects.add(reject)
                for mend in read_rejects(folder / MENDED):
                    mends.add(mend)
                    rules.update(mend.reason.split(AND))
        total, records, pictures = sum(read), *map(sum, zip(*counts, strict=True))
        mended = sum(len(partition.mended) for partition in partitions)
        why = rejects.kinds
        values = {
            "read": total + reader.left_out,
            "kept": records - mended,
            "mended": {"total": mended, **dict(sorted(rules.items()))},
            "rejected": {"total": why.total(), **dict(sorted(why.items()))},
            "left_out": reader.left_out,
            "images": pictures,
        }
        problem = too_many(why, total, prepare.max_reject_share, source, output / REJECTS)
        if not problem:
            write_partitions(partial, partitions, reader.left_out)
            for folder in folders:
                _place(folder / RECORDS, partial / f"{folder.name}.parquet")
            write_dataset_card(partial, source, reader.source, partitions, values)
        write_json(metrics, values)  # last: with a full disk the old ones stay
        _check_expected(source, reader.source.expected, total)
    if problem:
        raise problem
    print(
        f"prepare {source}: {values['read']} read = {values['kept']} kept + {mended} mended + {why.total()} "
        f"rejected + {reader.left_out} left out", file=sys.stderr,
    )  # fmt: skip
    return values


def _open_source(name: str, sources: Mapping[str, Source], images: Images) -> SourceReader:
    if name not in sources:
        raise ParrotError(f"params.yaml: sources: has no {name}, but {', '.join(sources)}")
    source = sources[name]
    for other, its in sources.items():
        if its == source and other != name:
            raise ParrotError(
                f"params.yaml: sources.{name}: reads what {other} reads, every record would be a duplicate; "
                f"remove one of them, and weigh the other in mix.{source.split}"
            )
    return SourceReader(name, source, images)


def _name(number: int) -> str:
    return f"part-{number:05d}"


def _made(parts: Iterator[Part], reader: SourceReader, work: Path, speed: Speed) -> Iterator[int]:
    """Make the partitions that are not done yet; yields, in order, how many entries each has."""
    if speed.prepare_processes == 1 and not speed.cluster:
        for part in parts:
            if not _is_made(work, part):
                make_part(work / _name(part.number), reader, part)
            yield part.entries
        return
    opened = _Opened(uuid4().hex, reader.name, reader.source, reader.limits)
    task = partial(_make_elsewhere, opened, work)
    for part in in_order(parts, task, partial(_is_made, work), speed):
        yield part.entries


def _is_made(work: Path, part: Part) -> bool:
    """Whether its partition is there and whole; one that was damaged in a power cut is made anew."""
    folder = work / _name(part.number)
    if not folder.exists():
        return False
    try:
        for name in (RECORDS, PARTITIONS, REJECTS, MENDED):
            SealedFile(folder / name).check()
    except ParrotError:
        return False
    return True


class _Opened(NamedTuple):
    """A source, as one run reads it."""

    run: str
    """A worker of a cluster may live longer than the files are as they are."""
    name: str
    source: Source
    limits: Images


_mine = threading.local()
"""The source that a process, or a thread of a worker, has opened last: `opened`, and its `reader`."""


def _make_elsewhere(opened: _Opened, work: Path, part: Part) -> None:
    if _is_made(work, part):  # by a worker that Dask took for dead
        return
    if getattr(_mine, "opened", None) != opened:
        _mine.opened, _mine.reader = opened, SourceReader(opened.name, opened.source, opened.limits)
    make_part(work / _name(part.number), _mine.reader, part)


def _count(shard: Path) -> tuple[int, int]:
    """Its records, and their images."""
    digests = open_shard(shard).read(columns=["picture_digests"])["picture_digests"]
    return len(digests), pc.sum(pc.list_value_length(digests)).as_py() or 0


def _check_expected(name: str, expected: int | None, found: int) -> None:
    if expected and abs(found - expected) > _NEAR * expected:
        raise ParrotError(
            f"{name}: {found} entries, {expected} are expected: a file is not whole, or another; fetch it "
            f"again, or correct sources.{name}.expected"
        )


def _place(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # on another disk, or on one without links
        shutil.copyfile(file, target)
