"""Upstream files -> Parquet shards of records, a table of what was rejected, and counts.

Everything streams: a first pass counts the entries of each source, a second one draws from the
sources in turn, in proportion to what they have left, so that the shards are mixed.
"""

import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from parrot.config import Prepare, Source
from parrot.data.digests import content_digest, digest
from parrot.data.images import ImageStore, check_image
from parrot.data.records import Record, Reject
from parrot.data.rejects import Rejected, kind, write_rejects
from parrot.data.shards import ShardWriter
from parrot.data.sources import FORMATS
from parrot.data.sources.mmmb import read_questions
from parrot.data.sources.text import entry_id
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json

SPLITS = ("align", "sft")
REJECTS = "rejects.parquet"


@dataclass
class Counts:
    """What the metrics say about a split."""

    records: int = 0
    images: int = 0
    text_only: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)

    def add(self, item: Record | Reject) -> None:
        if isinstance(item, Reject):
            self.rejects.append(item)
            return
        self.records += 1
        self.images += len(item.images)
        self.text_only += not item.images
        self.languages[item.language] += 1
        self.sources[item.source] += 1

    def metrics(self) -> dict[str, Any]:
        kinds = Counter(kind(reject.reason) for reject in self.rejects)
        return {
            "records": self.records,
            "images": self.images,
            "text_only": self.text_only,
            "languages": dict(sorted(self.languages.items())),
            "sources": dict(sorted(self.sources.items())),
            "rejects": {"total": len(self.rejects), **dict(sorted(kinds.items()))},
            "duplicates": kinds["duplicate"],
            "contaminated": kinds["contaminated"],
        }


def prepare(params: Prepare, *, seed: int, output: Path, metrics: Path) -> dict[str, Any]:
    """Write `output/align/*.parquet`, `output/sft/*.parquet`, `output/rejects.parquet` and `metrics`.

    The same inputs and seed give the same bytes.

    Returns:
        The metrics: counts for each split, and the number of all rejects.

    Raises:
        ParrotError: an input is missing or broken, or a split has more rejects than
            `max_reject_share`; then `output` holds the rejects alone.
    """
    splits = {"align": params.align, "sft": params.sft}
    stores = _open_sources([*params.align, *params.sft])
    benchmark = benchmark_pictures(params.benchmarks)
    counts = {split: Counts() for split in SPLITS}
    with atomic_directory(output) as partial:
        for split, sources in splits.items():
            writer = ShardWriter(partial / split, params.shard_megabytes << 20)
            items = mixed(sources, stores, f"{seed}/{split}")
            for item in screened(items, benchmark, params.max_image_megapixels):
                counts[split].add(item)
                if isinstance(item, Record):
                    writer.write(item)
            writer.close()
        rejects = [reject for count in counts.values() for reject in count.rejects]
        write_rejects(partial / REJECTS, rejects)
        problem = _too_many_rejects(counts, params.max_reject_share, output / REJECTS)
        if problem:
            for split in splits:
                shutil.rmtree(partial / split)
    values = {split: count.metrics() for split, count in counts.items()} | {"rejects": len(rejects)}
    write_json(metrics, values)
    if problem:
        raise ParrotError(problem)
    return values


def benchmark_pictures(benchmarks: Sequence[str]) -> dict[bytes, str]:
    """Digest -> file, of every picture in the TSVs of `benchmarks` (folders or files).

    Raises:
        ParrotError: one is missing or holds no TSV.
    """
    pictures: dict[bytes, str] = {}
    for name in benchmarks:
        path = Path(name)
        if not path.exists():
            raise ParrotError(f"{path}: not found (prepare.benchmarks); `parrot data` provides the demo data")
        files = sorted(path.glob("*.tsv")) if path.is_dir() else [path]
        if not files:
            raise ParrotError(f"{path}: holds no .tsv (prepare.benchmarks)")
        for file in files:
            pictures |= {digest(question.image): str(file) for question in read_questions(file)}
    return pictures


def mixed(sources: Sequence[Source], stores: dict[str, ImageStore], seed: str) -> Iterator[Record | Reject]:
    """The sources' records, interleaved: each step draws a source in proportion to what it has left."""
    chosen = [_choose(source, seed) for source in sources]
    remaining = [len(numbers) for numbers in chosen]
    streams = [
        _read(source, stores.get(source.images or ""), numbers)
        for source, numbers in zip(sources, chosen, strict=True)
    ]
    draw = random.Random(f"mix/{seed}")
    places = range(len(streams))
    with tqdm(total=sum(remaining), desc=f"prepare {seed.rpartition('/')[2]}", unit=" records") as progress:
        while any(remaining):
            place = draw.choices(places, remaining)[0]
            remaining[place] -= 1
            progress.update()
            yield next(streams[place])


def screened(
    items: Iterator[Record | Reject], benchmark: dict[bytes, str], max_megapixels: float
) -> Iterator[Record | Reject]:
    """Reject broken pictures, pictures of the benchmark, and records that were there before.

    An upstream id that comes again within its source gets a suffix: LLaVA's mixture repeats them.
    """
    whole: set[bytes] = set()  # digests, so that a picture with many records is decoded once
    seen: set[bytes] = set()
    ids: Counter[tuple[str, str]] = Counter()
    for item in items:
        if isinstance(item, Reject):
            yield item
            continue
        try:
            digests = []
            for image in item.images:
                digests.append(picture := digest(image.bytes))
                if picture in benchmark:
                    raise Rejected("image", f"contaminated: {image.path} is also in {benchmark[picture]}")
                if picture not in whole:
                    check_image(image.bytes, max_megapixels)
                    whole.add(picture)
            content = content_digest(((turn.role, turn.content) for turn in item.messages), digests)
            if content in seen:
                raise Rejected("", "duplicate: the same images and messages came before")
        except Rejected as error:
            yield Reject(item.source, item.id, error.field, error.reason)
            continue
        seen.add(content)
        ids[item.source, item.id] += 1
        again = ids[item.source, item.id]
        yield item if again == 1 else replace(item, id=f"{item.id}#{again}")


def _open_sources(sources: Sequence[Source]) -> dict[str, ImageStore]:
    """Every images folder or archive once; that all files are there is known before the work begins."""
    for source in sources:
        if not Path(source.path).is_file():
            raise ParrotError(
                f"{source.path}: not found (source {source.name}); `parrot data` fetches or makes the demo "
                f"data, other data belongs there as its publisher ships it"
            )
    return {path: ImageStore(path) for path in sorted({source.images for source in sources if source.images})}


def _choose(source: Source, seed: str) -> Sequence[int]:
    """The numbers of the entries to take, in the file's order."""
    total = sum(1 for _ in FORMATS[source.format].entries(Path(source.path)))
    if source.samples is None:
        return range(total)
    if source.samples > total:
        raise ParrotError(
            f"{source.path}: holds {total} entries, source {source.name} asks for {source.samples} samples; "
            f"correct params.yaml"
        )
    return sorted(random.Random(f"samples/{seed}/{source.name}").sample(range(total), source.samples))


def _read(source: Source, store: ImageStore | None, numbers: Sequence[int]) -> Iterator[Record | Reject]:
    upstream = FORMATS[source.format]
    wanted = iter(numbers)
    number = next(wanted, None)
    for position, entry in enumerate(upstream.entries(Path(source.path))):
        if position != number:
            continue
        try:
            yield upstream.to_record(entry, position, source.language, source.name, store)
        except Rejected as error:
            yield Reject(source.name, entry_id(entry, position), error.field, error.reason)
        number = next(wanted, None)


def _too_many_rejects(counts: dict[str, Counts], limit: float, table: Path) -> str | None:
    for split, count in counts.items():
        rejected = len(count.rejects)
        total = count.records + rejected
        if total == 0:
            return f"prepare.{split}: its sources hold no entries; correct them in params.yaml"
        if rejected > limit * total:
            common = Counter(kind(reject.reason) for reject in count.rejects).most_common(3)
            return (
                f"{split}: {rejected} of {total} entries rejected, max_reject_share allows {limit:g}; mostly "
                f"{', '.join(f'{reason} ({number})' for reason, number in common)}; all are listed in {table}"
            )
    return None
