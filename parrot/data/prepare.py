"""One source's upstream files -> Parquet shards of records, a table of what was rejected, and counts."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from parrot.config import Images, Prepare, Source
from parrot.data.checksums import SealedFile, seal
from parrot.data.records import Record
from parrot.data.rejects import REJECTS, Reject, kinds, read_rejects, too_many, write_rejects
from parrot.data.shards import open_shard, write_shard
from parrot.data.sources.reading import SourceReader
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json

_ENTRIES = "entries.parquet"
"""Every entry of the source, in the order of its files."""

_ENTRIES_SCHEMA = pa.schema(
    [
        pa.field("language", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        # In the shard; null of an entry that was rejected: rejects.parquet lists these in the same order.
        pa.field("row", pa.int32()),
    ]
)
_RECORDS = "records.parquet"
MENDED = "mended.parquet"
_AND = "; "
"""Between the rules by which a record was mended."""
_NEAR = 0.05
"""What `expected` may be off: publishers round."""


def prepare(
    languages: Sequence[str],
    images: Images,
    prepare: Prepare,
    sources: Mapping[str, Source],
    *,
    source: str,
    output: Path,
    metrics: Path,
    work: Path,
) -> dict[str, Any]:
    """Make records of one source, in shards, and a table of what was rejected.

    Writes `output/part-*.parquet`, `output/entries.parquet`, `output/rejects.parquet`,
    `output/mended.parquet` (which records are not as published, and by which rules) and `metrics`. The same
    inputs give the same bytes, also if a run is killed and begun again with the same `work`: there each
    partition is put as soon as it is done.

    Args:
        languages: whose files are read, in this order, of a source that has one for each.
        source: which of `sources`.

    Returns:
        The metrics: `read` entries are as many as were `kept` as they are, `mended`, `rejected` and, by the
        format, `left_out`; by which rules and why; and how many images the records have.

    Raises:
        ParrotError: an input is missing or broken, has another number of entries than it should, or more
            are rejected than `max_reject_share` allows; then `output` holds no records.
    """
    reader = _open_source(source, sources, images)
    reader.check_inputs(languages)
    done: list[Path] = []
    with tqdm(desc=f"prepare {source}", unit=" entries") as progress:
        for language, entries in groupby(reader.entries(languages), itemgetter(0)):
            while partition := [
                (place, entry) for _, place, entry in islice(entries, prepare.partition_records)
            ]:
                done.append(work / f"part-{len(done):05d}")
                if not done[-1].exists():
                    with atomic_directory(done[-1]) as partial:
                        _write_partition(partial, f"{done[-1].name}.parquet", reader, language, partition)
                progress.update(len(partition))
    if not done:
        files = ", ".join(map(str, reader.source.by_language(languages).values()))
        raise ParrotError(f"{files}: no entries; correct sources.{source}")
    table = pa.concat_tables(map(read_entries, done))
    rejects = [reject for folder in done for reject in read_rejects(folder / REJECTS)]
    mended = [mend for folder in done for mend in read_rejects(folder / MENDED)]
    records, pictures = (sum(counts) for counts in zip(*map(_count, done), strict=True))
    rules = Counter(rule for mend in mended for rule in mend.reason.split(_AND))
    values = {
        "read": len(table) + reader.left_out,
        "kept": records - len(mended),
        "mended": {"total": len(mended), **dict(sorted(rules.items()))},
        "rejected": {"total": len(rejects), **dict(sorted(kinds(rejects).items()))},
        "left_out": reader.left_out,
        "images": pictures,
    }
    if len(table) != records + len(rejects):
        raise ParrotError(
            f"{source}: {len(table)} entries became {records} records and {len(rejects)} rejects: one was "
            f"lost or counted twice, in {work}; delete that and run the stage again"
        )
    write_json(metrics, values)
    _check_expected(source, reader.source.expected, len(table))
    problem = too_many(rejects, len(table), prepare.max_reject_share, source, output / REJECTS)
    with atomic_directory(output) as partial:
        write_rejects(partial / REJECTS, rejects)
        write_rejects(partial / MENDED, mended)
        if not problem:
            _write_entries(partial, table)
            for folder in done:
                _place(folder / _RECORDS, partial / f"{folder.name}.parquet")
    if problem:
        raise problem
    return values


def read_entries(folder: Path) -> pa.Table:
    """Where each entry of a prepared source went: `language`, `shard`, and `row`, null if it was rejected.

    Raises:
        ParrotError: `prepare` did not write the folder, or the file is damaged.
    """
    file = SealedFile(folder / _ENTRIES)
    if not file.schema.equals(_ENTRIES_SCHEMA):
        raise ParrotError(f"{folder / _ENTRIES}: other columns than expected; run the stage prepare again")
    return file.read()


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


def _write_partition(
    folder: Path, shard: str, reader: SourceReader, language: str, entries: list[tuple[int, Any]]
) -> None:
    """The records of some entries of a file, where each of them went, and what was rejected."""
    rows: list[int | None] = []
    rejects: list[Reject] = []
    mended: list[Reject] = []

    def records() -> Iterator[Record]:
        for position, entry in entries:
            made = reader.record(language, position, entry)
            if isinstance(made, Reject):
                rejects.append(made)
                rows.append(None)
                continue
            rows.append(len(rows) - len(rejects))
            if made.mended:
                mended.append(Reject(reader.name, language, made.id, "", _AND.join(made.mended)))
            yield made

    write_shard(folder / _RECORDS, records())
    write_rejects(folder / REJECTS, rejects)
    write_rejects(folder / MENDED, mended)
    places = [{"language": language, "shard": shard, "row": row} for row in rows]
    _write_entries(folder, pa.Table.from_pylist(places, _ENTRIES_SCHEMA))


def _write_entries(folder: Path, entries: pa.Table) -> None:
    path = folder / _ENTRIES
    pq.write_table(entries, path, compression="none", use_dictionary=["language", "shard"])
    seal(path)


def _count(partition: Path) -> tuple[int, int]:
    """Its records, and their images."""
    digests = open_shard(partition / _RECORDS).read(columns=["picture_digests"])["picture_digests"]
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
