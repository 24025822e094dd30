"""Upstream files -> Parquet shards of records, a table of what was rejected, and counts."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from parrot.config import Model, Prepare
from parrot.data.digests import content_digest, digest
from parrot.data.images import check_image
from parrot.data.lengths import Ruler, Shortened, fitted
from parrot.data.mix import joined, mixed, open_sources
from parrot.data.records import Record, Reject
from parrot.data.rejects import Rejected, kind, write_rejects
from parrot.data.shards import ShardWriter
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import read_questions
from parrot.files import atomic_directory, write_json

SPLITS = ("align", "sft")
REJECTS = "rejects.parquet"


@dataclass
class Counts:
    """What the metrics say about a split.

    `samples` are the records as often as their sources' weights ask for them; `languages` and
    `sources` are of these, because they are what training sees.
    """

    records: int = 0
    samples: int = 0
    images: int = 0
    text_only: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    shortened: list[Shortened] = field(default_factory=list)

    def add(self, item: Record | Reject) -> None:
        if isinstance(item, Shortened):
            self.shortened.append(item)
            return
        if isinstance(item, Reject):
            self.rejects.append(item)
            return
        self.records += 1
        self.samples += item.copies
        self.images += len(item.images)
        self.text_only += not item.images
        self.languages[item.language] += item.copies
        self.sources[item.source] += item.copies

    def metrics(self) -> dict[str, Any]:
        kinds = Counter(kind(reject.reason) for reject in self.rejects)
        return {
            "records": self.records,
            "samples": self.samples,
            "images": self.images,
            "text_only": self.text_only,
            "languages": dict(sorted(self.languages.items())),
            "sources": dict(sorted(self.sources.items())),
            "rejects": {"total": len(self.rejects), **dict(sorted(kinds.items()))},
            "duplicates": kinds["duplicate"],
            "contaminated": kinds["contaminated"],
            "too_long": kinds["too long"],
            "cut": len(self.shortened),
        }


def prepare(
    params: Prepare,
    model_params: Model,
    *,
    image_sides: tuple[int, int],
    seed: int,
    vision: Path,
    language: Path,
    output: Path,
    metrics: Path,
) -> dict[str, Any]:
    """Write `output/align/*.parquet`, `output/sft/*.parquet`, `output/rejects.parquet` and `metrics`.

    The same inputs and seed give the same bytes. The backbones in the folders `vision` and `language`
    say how long a record is; their weights are not read. `image_sides` are the fewest and the most pixels
    that a side of a picture may have.

    Returns:
        The metrics: counts for each split, and the number of all rejects.

    Raises:
        ParrotError: an input is missing or broken, or a split has more rejects than
            `max_reject_share`; then `output` holds the rejects alone.
    """
    splits = {"align": joined(params.align), "sft": joined(params.sft)}
    stores = open_sources([*params.align, *params.sft])
    benchmark = benchmark_pictures(params.benchmarks)
    ruler = Ruler(model_params, vision, language)
    counts = {split: Counts() for split in SPLITS}
    with atomic_directory(output) as partial:
        for split, sources in splits.items():
            writer = ShardWriter(partial / split, params.shard_megabytes << 20)
            items = mixed(sources, stores, f"{seed}/{split}")
            items = fitted(items, ruler, model_params.max_length, params.too_long)
            for item in screened(items, benchmark, params.max_image_megapixels, image_sides):
                counts[split].add(item)
                if isinstance(item, Record):
                    writer.write(item)
            writer.close()
        rejects = [reject for count in counts.values() for reject in count.rejects]
        shortened = [cut for count in counts.values() for cut in count.shortened]
        write_rejects(partial / REJECTS, [*rejects, *shortened])
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


def screened(
    items: Iterator[Record | Reject],
    benchmark: dict[bytes, str],
    max_megapixels: float,
    sides: tuple[int, int],
) -> Iterator[Record | Reject]:
    """Reject broken, small and large pictures, those of the benchmark, and records that were there before.

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
                    width, height, _ = check_image(image.bytes, max_megapixels)
                    _check_sides(image.path, width, height, sides)
                    whole.add(picture)
            content = content_digest(((turn.role, turn.content) for turn in item.messages), digests)
            if content in seen:
                raise Rejected("", "duplicate: the same images and messages came before")
        except Rejected as error:
            yield Reject(item.source, item.id, error.field, error.reason)
            continue
        seen.add(content)
        name = item.id
        while ids[item.source, name]:
            ids[item.source, item.id] += 1
            name = f"{item.id}#{ids[item.source, item.id]}"
        ids[item.source, name] += 1
        yield item if name == item.id else replace(item, id=name)


def _check_sides(name: str, width: int, height: int, sides: tuple[int, int]) -> None:
    """What the contract of `validate` demands of every picture, so that one of them does not stop it."""
    least, most = sides
    if min(width, height) < least:
        raise Rejected("image", f"image too small: {name} has {width} × {height} pixels, fewer than {least}")
    if max(width, height) > most:
        raise Rejected("image", f"image too large: {name} has {width} × {height} pixels, more than {most}")


def _too_many_rejects(counts: dict[str, Counts], limit: float, table: Path) -> str | None:
    for split, count in counts.items():
        rejected = len(count.rejects)
        total = count.records + rejected
        if total == 0:
            return f"prepare.{split}: its sources hold no entries; correct them in params.yaml"
        if rejected > limit * total or not count.records:
            common = Counter(kind(reject.reason) for reject in count.rejects).most_common(3)
            return (
                f"{split}: {rejected} of {total} entries rejected, max_reject_share allows {limit:g}; mostly "
                f"{', '.join(f'{reason} ({number})' for reason, number in common)}; all are listed in {table}"
            )
    return None
