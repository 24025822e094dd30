"""Records of several sources in one order: each in proportion to what it has left.

Everything streams: a first pass counts the entries of each source, a second one draws from the
sources in turn, so that the shards are mixed.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from parrot.config import Source
from parrot.data.images import ImageStore
from parrot.data.records import Record, Reject
from parrot.data.rejects import Rejected
from parrot.data.sources import FORMATS
from parrot.data.sources.text import entry_id
from parrot.errors import ParrotError


def joined(sources: Sequence[Source]) -> list[Source]:
    """The sources; those that differ in name and weight alone are one, with the sum of their weights.

    Naming a file twice is how other projects weigh it; its records are no duplicates then.
    """
    found: dict[str, Source] = {}
    for source in sources:
        reads = source.model_dump_json(exclude={"name", "weight"})
        first = found.get(reads)
        if first:
            weight = first.weight + source.weight
            tqdm.write(f"{source.name} reads what {first.name} reads: one source of weight {weight:g}")
            source = first.model_copy(update={"weight": weight})
        found[reads] = source
    return list(found.values())


def open_sources(sources: Sequence[Source]) -> dict[str, ImageStore]:
    """Every images folder or archive once; that all files are there is known before the work begins."""
    for source in sources:
        if Path(source.path).is_dir():
            raise ParrotError(f"{source.path}: is a folder; source {source.name} is read from one file")
        if not Path(source.path).is_file():
            raise ParrotError(
                f"{source.path}: not found (source {source.name}); `parrot data` fetches or makes the demo "
                f"data, other data belongs there as its publisher ships it"
            )
    return {path: ImageStore(path) for path in sorted({source.images for source in sources if source.images})}


def mixed(sources: Sequence[Source], stores: dict[str, ImageStore], seed: str) -> Iterator[Record | Reject]:
    """The sources' records, interleaved: each step draws a source in proportion to what it has left."""
    copies = [_copies(source, seed) for source in sources]
    remaining = [sum(map(bool, of_entries)) for of_entries in copies]
    streams = [
        _read(source, stores.get(source.images or ""), of_entries)
        for source, of_entries in zip(sources, copies, strict=True)
    ]
    draw = random.Random(f"mix/{seed}")
    places = range(len(streams))
    with tqdm(total=sum(remaining), desc=f"prepare {seed.rpartition('/')[2]}", unit=" records") as progress:
        while any(remaining):
            place = draw.choices(places, remaining)[0]
            remaining[place] -= 1
            progress.update()
            yield next(streams[place])


def _copies(source: Source, seed: str) -> list[int]:
    """How often each entry of the file is taken, by `samples` and `weight`."""
    total = sum(1 for _ in FORMATS[source.format].entries(Path(source.path)))
    chosen: Sequence[int] = range(total)
    if source.samples is not None:
        if source.samples > total:
            raise ParrotError(
                f"{source.path}: holds {total} entries, source {source.name} asks for {source.samples} "
                f"samples; correct params.yaml"
            )
        chosen = random.Random(f"samples/{seed}/{source.name}").sample(chosen, source.samples)
    times, rest = divmod(source.weight, 1)
    copies = [0] * total
    for number in chosen:
        copies[number] = int(times)
    for number in random.Random(f"weight/{seed}/{source.name}").sample(chosen, round(rest * len(chosen))):
        copies[number] += 1
    return copies


def _read(source: Source, store: ImageStore | None, copies: Sequence[int]) -> Iterator[Record | Reject]:
    upstream = FORMATS[source.format]
    entries = upstream.entries(Path(source.path))
    for number, (entry, wanted) in enumerate(zip(entries, copies, strict=True)):
        if not wanted:
            continue
        if source.ignore and isinstance(entry, dict):
            entry = {name: value for name, value in entry.items() if name not in source.ignore}
        try:
            record = upstream.to_record(entry, number, source.language, source.name, store)
            yield record if wanted == 1 else replace(record, copies=wanted)
        except Rejected as error:
            yield Reject(source.name, entry_id(entry, number), error.field, error.reason)
