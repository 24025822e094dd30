"""Prepared sources -> a mixture: which records are trained on, how often, in which order.

Each step draws a source's file in proportion to what it has left, so that the sources are mixed evenly
and the entries of each file keep their order. No picture is read.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from parrot.config import Images, Mix, Model, Speed, Split
from parrot.data.accounting import Account, write_balance
from parrot.data.columns import Flags, keys_of
from parrot.data.contamination import CONTAMINATED, too_contaminated
from parrot.data.digests import digest
from parrot.data.draws import Copies, draw_copies, interleave
from parrot.data.merging import Originals, Stream, merged
from parrot.data.partitions import Partition, check_prepared, read_left_out, read_partitions
from parrot.data.reject_tables import REJECTS, RejectsWriter, count_rejects
from parrot.data.rejects import too_many
from parrot.data.repeats import Repeats
from parrot.data.screening import SCREENED_SCHEMA, UNSTORED, Taken, screen_all
from parrot.data.seen import FirstSeen
from parrot.data.shards import INDEX, INDEX_SCHEMA, write_index
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json

_DUPLICATE = "duplicate"
_NOWHERE = np.iinfo(np.uint16).max
"""In place of a stream's number."""


def mix(
    seed: int,
    mix: Mix,
    model: Model,
    images: Images,
    speed: Speed,
    *,
    split: Split,
    prepared: Path,
    vision: Path,
    language: Path,
    output: Path,
    metrics: Path,
    work: Path,
) -> dict[str, Any]:
    """Say which records of a split are trained on, how often, and in which order.

    Writes `output/index.parquet`, `output/rejects.parquet`, `output/balance.json` (what became of each
    source's entries) and `metrics`. Memory grows by a few bytes a record.

    The same inputs and seed give the same bytes, with any number of processes or workers. The backbones in
    the folders `vision` and `language` say how long a record is; their weights are not read.

    Args:
        prepared: folder of the split's sources, each as `prepare` writes it.
        vision: folder of the vision tower, whose pictures take positions.
        language: folder of the language model, whose tokenizer counts them.
        work: folder for what is found of each partition; a run that was killed finds it there.

    Returns:
        The metrics. `samples` are the records as often as the weights ask for them; `languages` and
        `sources` are of these, because they are what training sees.

    Raises:
        ParrotError: an input is missing or broken, more entries are in a benchmark than `max_contaminated`
            allows, or more are rejected than `max_reject_share` does, those that `prepare` rejected among
            them; then `output` holds the rejects alone.
    """
    sources = mix.split(split)
    check_prepared(prepared, list(sources), split)
    order = f"{seed}/{split}"
    streams: list[Stream] = []
    counts: dict[str, Counter[str]] = {}
    for name, mixed in sources.items():
        partitions = read_partitions(prepared / name)
        _check_rejects(prepared / name, partitions)
        copies = draw_copies(prepared / name, sum(part.entries for part in partitions), mixed, order)
        left_out = read_left_out(prepared / name)
        sampled_away = int((copies == 0).sum())
        counts[name] = Counter(read=len(copies) + left_out, sampled_away=sampled_away, left_out=left_out)
        streams += _streams(prepared / name, partitions, copies)
    if not (total := sum(stream.taken for stream in streams)):
        raise ParrotError(f"mix.{split}: its sources hold no entries; correct params.yaml")
    parts = [part for stream in streams for part in stream.parts if part.taken]
    with tqdm(desc=f"mix {split}", total=total, unit=" records") as progress:
        for part in screen_all(
            mix, model, images, parts, vision=vision, language=language, work=work, speed=speed
        ):
            progress.update(part.taken)
    drawn = interleave([stream.taken for stream in streams], order)
    with atomic_directory(output) as partial:
        mixing = _Mixing(streams, drawn, work, counts)
        with RejectsWriter(partial / REJECTS) as rejects:
            write_index(partial, mixing.admitted(rejects, Originals(prepared)))
        accounts = {name: _account(split, name, of) for name, of in counts.items()}
        values = _metrics(mixing.seen, rejects.kinds, rejects.noted, accounts)
        found = rejects.kinds[CONTAMINATED]
        problem = too_contaminated(partial / REJECTS, found, mix.max_contaminated, split, output / REJECTS)
        problem = problem or too_many(rejects.kinds, total, mix.max_reject_share, split, output / REJECTS)
        if problem:
            (partial / INDEX).unlink()
        else:
            write_balance(partial, accounts)
        write_json(metrics, values)  # last: with a full disk the old ones stay
    if problem:
        raise problem
    for name, account in accounts.items():
        print(f"mix {split}: {name}: {account}", file=sys.stderr)
    return values


def _check_rejects(folder: Path, partitions: Sequence[Partition]) -> None:
    listed = count_rejects(folder / REJECTS)
    if listed != (rejected := sum(len(part.rejected) for part in partitions)):
        raise ParrotError(
            f"{folder / REJECTS}: lists {listed} entries, but {rejected} were rejected: it is another run's; "
            f"run the stage prepare@{folder.name} again"
        )


def _account(split: Split, name: str, counts: Counter[str]) -> Account:
    account = Account(**{field: counts[field] for field in Account.__slots__})
    account.check(f"mix.{split}.{name}")
    return account


class _Mixing:
    """Screened entries in the order of the mixture: who is there already is refused, and ids become unique.

    Args:
        drawn: of which of the `streams` each entry is.
        counts: of each source, to be completed by what becomes of its entries.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        drawn: NDArray[np.uint16],
        work: Path,
        counts: dict[str, Counter[str]],
    ) -> None:
        self.seen: dict[str, Counter[Any]] = {name: Counter() for name in ("images", "languages", "sources")}
        """Of the records that are admitted."""
        self._streams, self._drawn, self._work, self._counts = streams, drawn, work, counts
        self._first = np.full(len(drawn), _NOWHERE, np.uint16)
        """Of each entry that repeats another one, the stream of that."""
        self._shared = np.zeros(len(drawn), bool)
        """Whether another entry of the same source has the same id, or one that only `#2` tells apart."""
        with Repeats() as contents, Repeats() as names:
            for begin, table in merged(streams, drawn, work, ("row", "refused", "digest", "stem")):
                places = np.flatnonzero(_is_fine(table))
                contents.add(begin + places, keys_of(table["digest"].take(places)))
                names.add(begin + places, keys_of(table["stem"].take(places)))
            for later, earlier in contents.pairs():
                self._first[later] = drawn[earlier]
            for later, earlier in names.pairs():
                self._shared[later] = self._shared[earlier] = True

    def admitted(self, rejects: RejectsWriter, originals: Originals) -> Iterator[pa.Table]:
        """The rows of the index; the others are listed in `rejects`, as is what was cut."""
        ids = _Ids()
        before = [stream.rejects() for stream in self._streams]
        for begin, table in merged(self._streams, self._drawn, self._work, SCREENED_SCHEMA.names):
            which, first = (of[begin : begin + len(table)] for of in (self._drawn, self._first))
            fine, again = _is_fine(table), first != _NOWHERE
            cut, stays = table["cut"].is_valid().to_numpy(), fine & ~again
            self._count(which, table, stays, fine & again, cut | _flags(table["mended"]))
            told = np.flatnonzero(~stays | cut)
            for place, row in zip(told.tolist(), table.take(told).to_pylist(), strict=True):
                if row["row"] == UNSTORED:
                    rejects.add(next(before[which[place]]))
                elif row["refused"]:
                    rejects.add(originals.reject(row, row["field"], row["refused"]))
                elif again[place]:
                    source = self._streams[first[place]].source
                    why = f"{_DUPLICATE}: the same images and messages came before, in {source}"
                    rejects.add(originals.reject(row, "", why))
                else:
                    rejects.note(originals.reject(row, "messages", row["cut"]))
            kept = table.filter(stays)
            names = ids.unique(kept, self._shared[begin : begin + len(table)][stays])
            columns = [names if name == "id" else kept[name] for name in INDEX_SCHEMA.names]
            yield pa.table(columns, INDEX_SCHEMA)

    def _count(
        self, which: NDArray[np.uint16], table: pa.Table, stays: Flags, repeats: Flags, changed: Flags
    ) -> None:
        copies = table["copies"].to_numpy()
        for number in np.unique(which):
            source, here = self._streams[number].source, which == number
            of, used = self._counts[source], here & stays
            of["mended"] += (mended := int((used & changed).sum()))
            of["kept"] += int(used.sum()) - mended
            of["deduplicated"] += (repeated := int((here & repeats).sum()))
            of["rejected"] += int((here & ~stays).sum()) - repeated
            if samples := int(copies[used].sum()):
                self.seen["languages"][self._streams[number].language] += samples
                self.seen["sources"][source] += samples
        numbers, records = np.unique(table["images"].to_numpy()[stays].astype(int), return_counts=True)
        self.seen["images"].update(dict(zip(numbers.tolist(), records.tolist(), strict=True)))


def _is_fine(table: pa.Table) -> Flags:
    """Of each row, whether nothing is said against it."""
    return _flags(pc.and_(pc.not_equal(table["row"], UNSTORED), table["refused"].is_null()))


def _flags(column: pa.ChunkedArray) -> Flags:
    found: Flags = column.fill_null(False).to_numpy()
    return found


class _Ids:
    """Makes ids unique: one that comes again within its source, as in LLaVA's mixture, gets a suffix."""

    def __init__(self) -> None:
        self._seen = FirstSeen()
        self._repeated: Counter[tuple[str, str]] = Counter()
        """How often a source and id that came before came again."""

    def unique(self, table: pa.Table, shared: Flags) -> pa.ChunkedArray | list[str]:
        """The ids of records; only those that are `shared` can come again."""
        if not shared.any():
            return table["id"]
        sources, names = table["source"].to_pylist(), table["id"].to_pylist()
        for place in np.flatnonzero(shared).tolist():
            source, given = sources[place], names[place]
            while self._seen.earlier(digest(repr((source, names[place])).encode())) is not None:
                self._repeated[source, given] += 1
                names[place] = f"{given}#{self._repeated[source, given] + 1}"
        return names


def _streams(folder: Path, partitions: Sequence[Partition], copies: Copies) -> Iterator[Stream]:
    """The files of a source."""
    begin = refused = 0
    for _, same in groupby(enumerate(partitions), key=lambda partition: partition[1].language):
        parts: list[Taken] = []
        start = begin
        for number, partition in same:
            end = begin + partition.entries
            parts.append(Taken(number, folder, partition, copies[begin:end], begin - start))
            begin = end
        yield Stream(parts, refused)
        refused += sum(len(part.partition.rejected) for part in parts)


def _metrics(
    seen: Mapping[str, Counter[Any]], why: Counter[str], cut: int, accounts: Mapping[str, Account]
) -> dict[str, Any]:
    images = seen["images"]
    return {
        "records": images.total(),
        "samples": seen["sources"].total(),
        "images": sum(number * records for number, records in images.items()),
        "text_only": images[0],
        "languages": dict(sorted(seen["languages"].items())),
        "sources": dict(sorted(seen["sources"].items())),
        "rejects": {"total": why.total(), **dict(sorted(why.items()))},
        "duplicates": why[_DUPLICATE],
        "contaminated": why[CONTAMINATED],
        "too_long": why["too long"],
        "cut": cut,
        "balance": {name: asdict(account) for name, account in accounts.items()},
    }
