"""Prepared sources -> a mixture: which records are trained on, how often, in which order.

Each step draws a source's file in proportion to what it has left, so that the sources are mixed evenly
and the entries of each file keep their order. No picture is read.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from parrot.config import Mix, Mixed, Model, Split
from parrot.data.contamination import benchmark_pictures
from parrot.data.lengths import Ruler, fit
from parrot.data.prepare import read_entries
from parrot.data.records import Message, count_images, digest_of, text_length
from parrot.data.rejects import REJECTS, Reject, Rejected, kinds, read_rejects, too_many, write_rejects
from parrot.data.shards import Indexed, open_shard, read_group, write_index
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json

_COLUMNS = ("id", "messages", "images.list.element.path", "length", "digest", "picture_digests")


def mix(
    seed: int,
    mix: Mix,
    model: Model,
    *,
    split: Split,
    prepared: Path,
    vision: Path,
    language: Path,
    output: Path,
    metrics: Path,
) -> dict[str, Any]:
    """Say which records of a split are trained on, how often, and in which order.

    Writes `output/index.parquet`, `output/rejects.parquet` and `metrics`.

    The same inputs and seed give the same bytes. The backbones in the folders `vision` and `language`
    say how long a record is; their weights are not read.

    Args:
        prepared: folder of the split's sources, each as `prepare` writes it.
        vision: folder of the vision tower, whose pictures take positions.
        language: folder of the language model, whose tokenizer counts them.

    Returns:
        The metrics. `samples` are the records as often as the weights ask for them; `languages` and
        `sources` are of these, because they are what training sees.

    Raises:
        ParrotError: an input is missing or broken, or more entries are rejected than `max_reject_share`
            allows, those that `prepare` rejected among them; then `output` holds the rejects alone.
    """
    sources = mix.split(split)
    _check_folders(prepared, list(sources), split)
    order = f"{seed}/{split}"
    streams = [
        stream for name, mixed in sources.items() for stream in _streams(prepared / name, mixed, order)
    ]
    if not (total := sum(wanted for wanted, _ in streams)):
        raise ParrotError(f"mix.{split}: its sources hold no entries; correct params.yaml")
    screen = _Screen(benchmark_pictures(Path(mix.benchmarks)))
    ruler = Ruler(model, vision, language)
    index: list[Indexed] = []
    rejects: list[Reject] = []
    shortened: list[Reject] = []
    images: Counter[int] = Counter()
    for item in tqdm(_drawn(streams, order), f"mix {split}", total, unit=" records"):
        if isinstance(item, Reject):
            rejects.append(item)
            continue
        try:
            kept = fit(item.messages, ruler, model.max_length, mix.too_long)
            item = item.first(kept.turns)
            index.append(screen.admit(item)._replace(positions=kept.positions))
        except Rejected as error:
            rejects.append(item.reject(error.field, error.reason))
            continue
        images[len(item.images)] += 1
        if kept.cut:
            shortened.append(item.reject("messages", kept.cut))
    values = _metrics(index, images, rejects, len(shortened))
    write_json(metrics, values)
    problem = too_many(rejects, total, mix.max_reject_share, split, output / REJECTS)
    with atomic_directory(output) as partial:
        write_rejects(partial / REJECTS, [*rejects, *shortened])
        if not problem:
            write_index(partial, index)
    if problem:
        raise problem
    return values


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A stored record on its way into the mixture, without its pictures."""

    place: Indexed
    """What the index would say of it; its positions are not known yet."""
    messages: tuple[Message, ...]
    images: tuple[tuple[str, bytes], ...]
    """Each picture's name and digest."""
    digest: bytes

    def first(self, turns: int) -> "_Candidate":
        """It with its first messages alone."""
        if turns == len(self.messages):
            return self
        messages = self.messages[:turns]
        images = self.images[: count_images(messages)]
        digest = digest_of(messages, [picture for _, picture in images])
        place = self.place._replace(length=text_length(messages), turns=turns)
        return _Candidate(place, messages, images, digest)

    def reject(self, field: str, reason: str) -> Reject:
        return Reject(self.place.source, self.place.language, self.place.id, field, reason)


class _Screen:
    """Refuses pictures of benchmarks and records that were there before, and makes ids unique.

    An upstream id that comes again within its source gets a suffix: LLaVA's mixture repeats them.
    """

    def __init__(self, benchmark: Mapping[bytes, Path]) -> None:
        self._benchmark = benchmark
        self._seen: dict[bytes, str] = {}
        """Digest of a record's content -> its source."""
        self._ids: Counter[tuple[str, str]] = Counter()

    def admit(self, item: _Candidate) -> Indexed:
        """Its place in the mixture, with a unique id.

        Raises:
            Rejected: it may not be trained on, or not once more.
        """
        for name, picture in item.images:
            if picture in self._benchmark:
                raise Rejected("image", f"contaminated: {name} is also in {self._benchmark[picture]}")
        source, given = item.place.source, item.place.id
        if first := self._seen.get(item.digest):
            raise Rejected("", f"duplicate: the same images and messages came before, in {first}")
        self._seen[item.digest] = source
        ids, name = self._ids, given
        while ids[source, name]:
            ids[source, given] += 1
            name = f"{given}#{ids[source, given]}"
        ids[source, name] += 1
        return item.place._replace(id=name)


def _check_folders(prepared: Path, sources: Sequence[str], split: Split) -> None:
    """See that the sources of the split are prepared, and no others."""
    for name in sources:
        if not (prepared / name).is_dir():
            raise ParrotError(f"{prepared / name}: not found; run the stage prepare@{name} first")
    for folder in sorted(prepared.iterdir()):
        if folder.is_dir() and folder.name not in sources:
            raise ParrotError(
                f"{folder}: is no source of mix.{split}; what a source left that was removed: delete it"
            )


def _streams(folder: Path, mixed: Mixed, order: str) -> Iterator[tuple[int, Iterator[_Candidate | Reject]]]:
    """For each file of a source, how many of its entries are taken, and these in order."""
    entries, rejects = read_entries(folder), read_rejects(folder / REJECTS)
    copies = _copies(folder, len(entries), mixed, order)
    begin = refused = 0
    for _, same in groupby(entries["language"].to_pylist()):
        end = begin + sum(1 for _ in same)
        file = entries.slice(begin, end - begin)
        count = file["row"].null_count
        wanted = copies[begin:end]
        yield sum(map(bool, wanted)), _items(folder, file, wanted, rejects[refused : refused + count])
        begin, refused = end, refused + count


def _copies(folder: Path, total: int, mixed: Mixed, order: str) -> list[int]:
    """How often each entry of a source is taken, by `samples` and `weight`."""
    source = folder.name
    chosen: Sequence[int] = range(total)
    if mixed.samples is not None:
        if mixed.samples > total:
            raise ParrotError(
                f"{folder}: holds {total} entries, {mixed.samples} samples are asked for; correct "
                f"mix.{order.rpartition('/')[2]}.{source}"
            )
        chosen = random.Random(f"samples/{order}/{source}").sample(chosen, mixed.samples)
    times, rest = divmod(mixed.weight, 1)
    copies = [0] * total
    for number in chosen:
        copies[number] = int(times)
    for number in random.Random(f"weight/{order}/{source}").sample(chosen, round(rest * len(chosen))):
        copies[number] += 1
    return copies


def _items(
    folder: Path, entries: pa.Table, copies: Sequence[int], rejects: Sequence[Reject]
) -> Iterator[_Candidate | Reject]:
    """The entries of a file that are taken."""
    refused = iter(rejects)
    shard, group = "", -1
    listed = (entry for batch in entries.to_batches(max_chunksize=1000) for entry in batch.to_pylist())
    for entry, wanted in zip(listed, copies, strict=True):
        if entry["row"] is None:
            reject = next(refused)
            if wanted:
                yield reject
            continue
        if not wanted:
            continue
        if entry["shard"] != shard:
            shard, group = entry["shard"], -1
            file = open_shard(folder / shard)
        found, offset = file.locate(entry["row"])
        if found != group:
            group, rows = found, read_group(file, found, _COLUMNS)
        row = rows[offset]
        messages = tuple(Message(**message) for message in row["messages"])
        names = [image["path"] for image in row["images"]]
        place = Indexed(
            f"{folder.name}/{shard}", entry["row"], row["id"], folder.name, entry["language"], row["length"],
            positions=0, copies=wanted, turns=len(messages),
        )  # fmt: skip
        images = tuple(zip(names, row["picture_digests"], strict=True))
        yield _Candidate(place, messages, images, row["digest"])


def _drawn(
    streams: Sequence[tuple[int, Iterator[_Candidate | Reject]]], order: str
) -> Iterator[_Candidate | Reject]:
    """The entries of all files, interleaved: each step draws a file in proportion to what it has left."""
    remaining = [wanted for wanted, _ in streams]
    draw = random.Random(f"mix/{order}")
    places = range(len(streams))
    while any(remaining):
        place = draw.choices(places, remaining)[0]
        remaining[place] -= 1
        yield next(streams[place][1])


def _metrics(
    index: Sequence[Indexed], images: Counter[int], rejects: Sequence[Reject], cut: int
) -> dict[str, Any]:
    languages: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    for row in index:
        languages[row.language] += row.copies
        sources[row.source] += row.copies
    why = kinds(rejects)
    return {
        "records": len(index),
        "samples": sources.total(),
        "images": sum(number * records for number, records in images.items()),
        "text_only": images[0],
        "languages": dict(sorted(languages.items())),
        "sources": dict(sorted(sources.items())),
        "rejects": {"total": len(rejects), **dict(sorted(why.items()))},
        "duplicates": why["duplicate"],
        "contaminated": why["contaminated"],
        "too_long": why["too long"],
        "cut": cut,
    }
