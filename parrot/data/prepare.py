"""One source's upstream files -> Parquet shards of records, a table of what was rejected, and counts."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from parrot.config import Images, Prepare, Source
from parrot.data.checksums import SealedFile, seal
from parrot.data.images import ImageStore, check_image
from parrot.data.records import Record
from parrot.data.rejects import REJECTS, Reject, Rejected, kinds, read_rejects, too_many, write_rejects
from parrot.data.shards import open_shard, write_shard
from parrot.data.sources import FORMATS, read_items
from parrot.data.sources.text import entry_id
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

    Writes `output/part-*.parquet`, `output/entries.parquet`, `output/rejects.parquet` and `metrics`. The same
    inputs give the same bytes, also if a run is killed and begun again with the same `work`: there each
    partition is put as soon as it is done.

    Args:
        languages: whose files are read, in this order, of a source that has one for each.
        source: which of `sources`.

    Returns:
        The metrics: how many entries were read, kept and rejected, why, and how many images the kept have.

    Raises:
        ParrotError: an input is missing or broken, or more entries are rejected than `max_reject_share`
            allows; then `output` holds the rejects alone.
    """
    reader, files = _open_source(source, sources, languages, images)
    done: list[Path] = []
    with tqdm(desc=f"prepare {source}", unit=" entries") as progress:
        for language, file in files.items():
            entries = enumerate(read_items(file))
            while partition := list(islice(entries, prepare.partition_records)):
                done.append(work / f"part-{len(done):05d}")
                if not done[-1].exists():
                    with atomic_directory(done[-1]) as partial:
                        _write_partition(partial, f"{done[-1].name}.parquet", reader, language, partition)
                progress.update(len(partition))
    if not done:
        raise ParrotError(f"{', '.join(map(str, files.values()))}: no entries; correct sources.{source}")
    table = pa.concat_tables(map(read_entries, done))
    rejects = [reject for folder in done for reject in read_rejects(folder / REJECTS)]
    values = {
        "read": len(table),
        "kept": len(table) - len(rejects),
        "rejected": {"total": len(rejects), **dict(sorted(kinds(rejects).items()))},
        "images": sum(_count_images(folder / _RECORDS) for folder in done),
    }
    write_json(metrics, values)
    problem = too_many(rejects, len(table), prepare.max_reject_share, source, output / REJECTS)
    with atomic_directory(output) as partial:
        write_rejects(partial / REJECTS, rejects)
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


@dataclass(frozen=True)
class _Reader:
    """Makes records of a source's entries."""

    name: str
    source: Source
    store: ImageStore | None
    limits: Images
    whole: set[str] = field(default_factory=set)
    """Names of pictures that were decoded: one that many records have is decoded once."""

    def record(self, entry: Any, number: int, language: str) -> Record:
        """Of entry `number` in the file of a language.

        Raises:
            Rejected: it cannot become one.
        """
        if isinstance(entry, dict):
            entry = {key: value for key, value in entry.items() if key not in self.source.ignore}
        record = FORMATS[self.source.format](entry, number, language, self.name, self.store)
        for image in record.images:
            if image.path not in self.whole:
                width, height, _ = check_image(image.bytes, self.limits.max_megapixels)
                self._check_sides(image.path, width, height)
                self.whole.add(image.path)
        return record

    def _check_sides(self, name: str, width: int, height: int) -> None:
        least, most = self.limits.min_pixels, self.limits.max_pixels
        found = f"{name} has {width} × {height} pixels"
        if min(width, height) < least:
            raise Rejected("image", f"image too small: {found}, fewer than {least}")
        if max(width, height) > most:
            raise Rejected("image", f"image too large: {found}, more than {most}")


def _open_source(
    name: str, sources: Mapping[str, Source], languages: Sequence[str], images: Images
) -> tuple[_Reader, dict[str, Path]]:
    """The reader and each language's file; that all is there is known before the work begins."""
    if name not in sources:
        raise ParrotError(f"params.yaml: sources: has no {name}, but {', '.join(sources)}")
    source = sources[name]
    for other, its in sources.items():
        if its == source and other != name:
            raise ParrotError(
                f"params.yaml: sources.{name}: reads what {other} reads, every record would be a duplicate; "
                f"remove one of them, and weigh the other in mix.{source.split}"
            )
    files = source.by_language(languages)
    for file in files.values():
        if file.is_dir():
            raise ParrotError(f"{file}: is a folder; source {name} is read from files")
        if not file.is_file():
            raise ParrotError(
                f"{file}: not found (source {name}); `parrot data` fetches or makes the demo "
                f"data, other data belongs there as its publisher ships it"
            )
    has_pictures = source.images != source.path or source.files is not None
    return _Reader(name, source, ImageStore(source.images) if has_pictures else None, images), files


def _write_partition(
    folder: Path, shard: str, reader: _Reader, language: str, entries: list[tuple[int, Any]]
) -> None:
    """The records of some entries of a file, where each of them went, and what was rejected."""
    rows: list[int | None] = []
    rejects: list[Reject] = []

    def records() -> Iterator[Record]:
        for number, entry in entries:
            try:
                record = reader.record(entry, number, language)
            except Rejected as error:
                name = entry_id(entry, number)
                rejects.append(Reject(reader.name, language, name, error.field, error.reason))
                rows.append(None)
            else:
                rows.append(len(rows) - len(rejects))
                yield record

    write_shard(folder / _RECORDS, records())
    write_rejects(folder / REJECTS, rejects)
    places = [{"language": language, "shard": shard, "row": row} for row in rows]
    _write_entries(folder, pa.Table.from_pylist(places, _ENTRIES_SCHEMA))


def _write_entries(folder: Path, entries: pa.Table) -> None:
    path = folder / _ENTRIES
    pq.write_table(entries, path, compression="none", use_dictionary=["language", "shard"])
    seal(path)


def _count_images(shard: Path) -> int:
    digests = open_shard(shard).read(columns=["picture_digests"])["picture_digests"]
    return pc.sum(pc.list_value_length(digests)).as_py() or 0


def _place(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # on another disk, or on one without links
        shutil.copyfile(file, target)
