"""Prepared sources -> a mixture: which records are trained on, how often, in which order.

Each step draws a source's file in proportion to what it has left, so that the sources are mixed evenly
and the entries of each file keep their order. No picture is read.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from parrot.config import Images, Mix, Model, Split
from parrot.data.accounting import Account, write_balance
from parrot.data.contamination import CONTAMINATED, Benchmarks, too_contaminated
from parrot.data.digests import digest
from parrot.data.draws import Copies, draw_copies, interleave
from parrot.data.lengths import TOGETHER, Fit, Ruler, fit_all
from parrot.data.partitions import Partition, check_prepared, read_left_out, read_partitions
from parrot.data.records import Message, count_images, digest_of, text_length
from parrot.data.rejects import (
    REJECTS,
    Reject,
    Rejected,
    RejectsWriter,
    as_json,
    kind,
    read_rejects,
    too_many,
)
from parrot.data.seen import FirstSeen
from parrot.data.shards import INDEX, Indexed, open_shard, read_group, write_index
from parrot.errors import ParrotError
from parrot.files import atomic_directory, write_json

_COLUMNS = ("id", "messages", "images.list.element.path", "length", "digest", "picture_digests", "looks")
_DUPLICATE = "duplicate"


def mix(
    seed: int,
    mix: Mix,
    model: Model,
    images: Images,
    *,
    split: Split,
    prepared: Path,
    vision: Path,
    language: Path,
    output: Path,
    metrics: Path,
) -> dict[str, Any]:
    """Say which records of a split are trained on, how often, and in which order.

    Writes `output/index.parquet`, `output/rejects.parquet`, `output/balance.json` (what became of each
    source's entries) and `metrics`. Memory does not grow with the records.

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
        ParrotError: an input is missing or broken, more entries are in a benchmark than `max_contaminated`
            allows, or more are rejected than `max_reject_share` does, those that `prepare` rejected among
            them; then `output` holds the rejects alone.
    """
    sources = mix.split(split)
    check_prepared(prepared, list(sources), split)
    order = f"{seed}/{split}"
    streams: list[tuple[int, Iterator[_Candidate | Reject]]] = []
    counts: dict[str, Counter[str]] = {}
    for name, mixed in sources.items():
        partitions = read_partitions(prepared / name)
        copies = draw_copies(prepared / name, sum(part.entries for part in partitions), mixed, order)
        left_out = read_left_out(prepared / name)
        sampled_away = int((copies == 0).sum())
        counts[name] = Counter(read=len(copies) + left_out, sampled_away=sampled_away, left_out=left_out)
        streams += _streams(prepared / name, partitions, copies)
    if not (total := sum(wanted for wanted, _ in streams)):
        raise ParrotError(f"mix.{split}: its sources hold no entries; correct params.yaml")
    screen = _Screen(Benchmarks(Path(mix.benchmarks), images.near_bits))
    ruler = Ruler(model, vision, language)
    seen: dict[str, Counter[Any]] = {name: Counter() for name in ("images", "languages", "sources")}

    def admitted(rejects: RejectsWriter) -> Iterator[Indexed]:
        items = tqdm(interleave(streams, order), f"mix {split}", total, unit=" records")
        for found in screen.screened(fit_all(items, ruler, model.max_length, mix.too_long)):
            if isinstance(found, Reject):
                rejects.add(found)
                counts[found.source]["rejected"] += 1
                continue
            item, kept = found
            name = item.place.source
            try:
                if isinstance(kept, Rejected):
                    raise kept
                place = screen.admit(item, kept.positions)
            except Rejected as error:
                rejects.add(item.reject(error.field, error.reason))
                counts[name]["deduplicated" if kind(error.reason) == _DUPLICATE else "rejected"] += 1
                continue
            counts[name]["mended" if kept.cut or item.mended else "kept"] += 1
            seen["images"][len(item.images)] += 1
            seen["languages"][place.language] += place.copies
            seen["sources"][place.source] += place.copies
            if kept.cut:
                rejects.note(item.reject("messages", kept.cut))
            yield place

    with atomic_directory(output) as partial:
        with RejectsWriter(partial / REJECTS) as rejects:
            write_index(partial, admitted(rejects))
        accounts = {name: _account(split, name, of) for name, of in counts.items()}
        values = _metrics(seen, rejects.kinds, rejects.noted, accounts)
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


def _account(split: Split, name: str, counts: Counter[str]) -> Account:
    account = Account(**{field: counts[field] for field in Account.__slots__})
    account.check(f"mix.{split}.{name}")
    return account


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A stored record on its way into the mixture, without its pictures."""

    place: Indexed
    """What the index would say of it; its positions are not known yet."""
    messages: tuple[Message, ...]
    images: tuple[tuple[str, bytes], ...]
    """Each picture's name and digest."""
    looks: tuple[bytes, ...]
    digest: bytes
    mended: bool
    """Whether `prepare` mended it."""
    position: int
    """Of its entry among those of its language."""

    def first(self, turns: int) -> "_Candidate":
        """It with its first messages alone."""
        if turns == len(self.messages):
            return self
        messages = self.messages[:turns]
        images = self.images[: count_images(messages)]
        digest = digest_of(messages, [picture for _, picture in images])
        place = self.place._replace(length=text_length(messages), turns=turns)
        looks = self.looks[: len(images)]
        return _Candidate(place, messages, images, looks, digest, self.mended, self.position)

    def reject(self, field: str, reason: str) -> Reject:
        talk = [{"role": message.role, "content": message.content} for message in self.messages]
        entry = {"id": self.place.id, "images": [name for name, _ in self.images], "messages": talk}
        who = self.place.source, self.place.language, self.place.id
        return Reject(*who, field, reason, self.position, as_json(entry))


_Fitted = tuple[_Candidate, Fit | Rejected]


class _Screen:
    """Refuses what benchmarks ask and records that were there before, and makes ids unique.

    An upstream id that comes again within its source gets a suffix: LLaVA's mixture repeats them.
    """

    def __init__(self, benchmarks: Benchmarks) -> None:
        self._benchmarks = benchmarks
        self._seen = FirstSeen()
        """Digest of a record's content -> its source."""
        self._ids = FirstSeen()
        self._repeated: Counter[tuple[str, str]] = Counter()
        """How often a source and id that came before came again."""

    def screened(self, items: Iterable[_Fitted | Reject]) -> Iterator[_Fitted | Reject]:
        """Each candidate cut to what fits, or with why it may not be trained on."""
        items = iter(items)
        while some := list(islice(items, TOGETHER)):
            cut = [
                (one[0].first(one[1].turns), one[1])
                for one in some
                if not isinstance(one, Reject) and isinstance(one[1], Fit)
            ]
            asked = self._benchmarks.look_for([item for item, _ in cut])
            fitting = ((item, found or fit) for (item, fit), found in zip(cut, asked, strict=True))
            for one in some:
                yield one if isinstance(one, Reject) or isinstance(one[1], Rejected) else next(fitting)

    def admit(self, item: _Candidate, positions: int) -> Indexed:
        """Its place in the mixture, with a unique id.

        Raises:
            Rejected: it was there before.
        """
        source, given = item.place.source, item.place.id
        if first := self._seen.earlier(item.digest, source):
            raise Rejected("", f"{_DUPLICATE}: the same images and messages came before, in {first}")
        name = given
        while self._ids.earlier(digest(repr((source, name)).encode())) is not None:
            self._repeated[source, given] += 1
            name = f"{given}#{self._repeated[source, given] + 1}"
        return item.place._replace(id=name, positions=positions)


def _streams(
    folder: Path, partitions: Sequence[Partition], copies: Copies
) -> Iterator[tuple[int, Iterator[_Candidate | Reject]]]:
    """For each file of a source, how many of its entries are taken, and these in order."""
    begin = refused = 0
    for language, same in groupby(partitions, key=lambda partition: partition.language):
        file = list(same)
        end = begin + sum(partition.entries for partition in file)
        wanted = copies[begin:end]
        rejects = islice(read_rejects(folder / REJECTS), refused, None)
        yield int(np.count_nonzero(wanted)), _items(folder, language, file, wanted, rejects)
        begin, refused = end, refused + sum(len(partition.rejected) for partition in file)


def _items(
    folder: Path,
    language: str,
    partitions: Sequence[Partition],
    copies: Copies,
    rejects: Iterator[Reject],
) -> Iterator[_Candidate | Reject]:
    """The entries of a file that are taken."""
    position = 0
    for partition in partitions:
        rejected, mended = set(partition.rejected), set(partition.mended)
        file, row, group = open_shard(folder / partition.shard), -1, -1
        for place in range(partition.entries):
            wanted = int(copies[position])
            position += 1
            if place in rejected:
                reject = next(rejects)
                if wanted:
                    yield reject
                continue
            row += 1
            if not wanted:
                continue
            found, offset = file.locate(row)
            if found != group:
                group, rows = found, read_group(file, found, _COLUMNS)
            stored = rows[offset]
            messages = tuple([Message(turn["role"], turn["content"]) for turn in stored["messages"]])
            names = [image["path"] for image in stored["images"]]
            where = Indexed(
                f"{folder.name}/{partition.shard}", row, stored["id"], folder.name, language,
                stored["length"], positions=0, copies=wanted, turns=len(messages),
            )  # fmt: skip
            images = tuple(zip(names, stored["picture_digests"], strict=True))
            looks = tuple(stored["looks"])
            yield _Candidate(where, messages, images, looks, stored["digest"], place in mended, position - 1)


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
