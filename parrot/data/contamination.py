"""Pictures and questions of benchmarks, which no training may see; nor what is nearly the same."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parrot.data.digests import digest
from parrot.data.images import decode_base64_image, decode_image
from parrot.data.looks import LOOK_BITS, as_rows, distances, look
from parrot.data.reject_tables import read_rejects
from parrot.data.rejects import Rejected, kind
from parrot.data.text_windows import Hashes, normalized, window_hashes
from parrot.data.tsv import read_rows, wrong_cell
from parrot.errors import ParrotError

CONTAMINATED = "contaminated"
MAX_REFERENCE = 64
"""An `image` of at most so many characters is the index of the row that holds the picture."""
_QUESTION = ("question", "hint", *"ABCDEFGH")
_LEAST_CHARACTERS = 50
"""A shorter question, its options included, such as "Is it big? Yes. No.", is asked of many pictures."""
_REMEMBERED = 100_000
_SHOWN = 5


class Asked(NamedTuple):
    """What a record asks about."""

    questions: Sequence[tuple[int, str]]
    """The user's messages, with their numbers."""
    images: Sequence[tuple[str, bytes]] = ()
    """Each picture's name and digest."""
    looks: Sequence[bytes] = ()


class Benchmarks:
    """What the TSVs in `folder` and below ask.

    Args:
        near_bits: in which looks may differ of a picture and a benchmark's that are taken for the same; None:
            only equal bytes are.
        same_question: share of a question's windows; so many of them in a text are the question, otherwise
            laid out or a word apart. None: questions are not compared.

    Raises:
        ParrotError: it is missing or holds no TSV; or a file is no such table, or a picture cannot be read.
    """

    def __init__(self, folder: Path, near_bits: int | None, same_question: float | None) -> None:
        self._near_bits = near_bits
        self._same_question = same_question
        self._pictures: dict[bytes, str] = {}
        """Digest -> file and row."""
        self._looks: dict[bytes, str] = {}
        questions: dict[bytes, str] = {}
        for file in _files(folder):
            for row, cells in read_rows(file, ["image"]):
                where = f"{file}, row {row}"
                if len(cells["image"].strip()) > MAX_REFERENCE:
                    self._add_picture(file, row, cells["image"], where)
                if same_question is None:
                    continue
                asked = normalized("\n".join(cells.get(column) or "" for column in _QUESTION))
                if len(asked.decode()) >= _LEAST_CHARACTERS:
                    questions.setdefault(asked, where)
        self._rows = as_rows(list(self._looks))
        self._answered: dict[bytes, str | None] = {}
        """Looks that were compared, and what was found: a picture often comes again."""
        self._hashes, self._owners = _distinct(*window_hashes(list(questions)))
        self._sizes = np.bincount(self._owners, minlength=len(questions))
        """Windows of each question."""
        self._known = np.zeros(1 << (8 * len(self._hashes)).bit_length(), bool)
        """Whether a window that ends in these bits may be of a question: nearly all others are not."""
        self._known[self._ending(self._hashes)] = True
        self._asked = list(questions.values())

    def look_for(self, records: Sequence[Asked]) -> list[Rejected | None]:
        """Of each record, whether it asks what a benchmark asks: then where in it, and where that is."""
        asked = iter(self._same_questions([text for record in records for _, text in record.questions]))
        found: list[Rejected | None] = []
        for record in records:
            same = [(number, where) for number, _ in record.questions if (where := next(asked))]
            found.append(self._picture(record) or (_same(*same[0]) if same else None))
        return found

    def _picture(self, record: Asked) -> Rejected | None:
        for name, picture in record.images:
            if where := self._pictures.get(picture):
                return Rejected("image", f"{CONTAMINATED}: {name} is also in {where}")
        for (name, _), seen in zip(record.images, record.looks, strict=False):
            if self._near_bits is not None and (like := self._like(seen, self._near_bits)):
                return Rejected("image", f"{CONTAMINATED}: {name} looks like the picture in {like}")
        return None

    def _add_picture(self, file: Path, row: int, text: str, where: str) -> None:
        try:
            encoded = decode_base64_image(text)
            if (key := digest(encoded)) not in self._pictures:
                self._pictures[key] = where
                if self._near_bits is not None:
                    self._looks.setdefault(look(decode_image(encoded)), where)
        except ValueError as error:
            raise wrong_cell(file, row, "image", str(error)) from None

    def _like(self, seen: bytes, near_bits: int) -> str | None:
        if seen not in self._answered:
            if len(self._answered) == _REMEMBERED:
                self._answered.clear()
            found = None
            if len(self._rows):
                apart = distances(self._rows, seen)
                if (least := int(apart.min())) <= near_bits:
                    where = list(self._looks.values())[int(apart.argmin())]
                    found = f"{where} ({least} of {LOOK_BITS} bits differ)"
            self._answered[seen] = found
        return self._answered[seen]

    def _ending(self, hashes: Hashes) -> NDArray[np.int64]:
        return (hashes & np.uint64(len(self._known) - 1)).astype(np.int64)

    def _same_questions(self, texts: Sequence[str]) -> list[str | None]:
        """Of each text, the question that it is nearest to, if that is near enough."""
        found: list[str | None] = [None] * len(texts)
        if self._same_question is None or not len(self._hashes):
            return found
        hashes, owners = window_hashes([normalized(text) for text in texts])
        known = self._known[self._ending(hashes)]
        # A text with fewer windows of all questions together than the shortest has is none of them.
        least = self._same_question * self._sizes.min()
        known &= (np.bincount(owners[known], minlength=len(texts)) >= least)[owners]
        hashes, owners = _distinct(hashes[known], owners[known])
        first = np.searchsorted(self._hashes, hashes)
        last = np.searchsorted(self._hashes, hashes, side="right")
        enough = np.bincount(owners[last > first], minlength=len(texts)) >= least
        counts = (last - first) * enough[owners]
        places = np.arange(counts.sum()) + np.repeat(first - (counts.cumsum() - counts), counts)
        pairs, windows = np.unique(
            np.repeat(owners, counts) * len(self._sizes) + self._owners[places], return_counts=True
        )
        texts_of, questions = np.divmod(pairs, len(self._sizes))
        shares = windows / self._sizes[questions]
        best = np.lexsort((questions, -shares, texts_of))
        best = best[np.diff(texts_of[best], prepend=-1) > 0]
        for place in best[shares[best] >= self._same_question].tolist():
            found[texts_of[place]] = f"{self._asked[questions[place]]} ({shares[place]:.0%} of it)"
        return found


def _same(number: int, where: str) -> Rejected:
    return Rejected(f"messages[{number}].content", f"{CONTAMINATED}: asks what is asked in {where}")


def _distinct(hashes: Hashes, owners: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes in order and whose each is, none twice of one."""
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return hashes[new], owners[new]


def too_contaminated(rejects: Path, count: int, limit: int, name: str, table: Path) -> ParrotError | None:
    """The error if more of the rejects than `limit`, a `count`, are in a benchmark.

    Names the first, and the `table` of all.
    """
    if count <= limit:
        return None
    found = (reject for reject in read_rejects(rejects) if kind(reject.reason) == CONTAMINATED)
    lines = [f"  {one.source}: record {one.record}: {one.reason}" for one in islice(found, _SHOWN)]
    first = f"{name}: {count} records are in a benchmark, mix.max_contaminated allows {limit}"
    last = f"all are listed in {table}; take them out of the data, or let so many be left out of the mixture"
    return ParrotError("\n".join([f"{first}:", *lines, last]))


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ParrotError(f"{folder}: not found (mix.benchmarks); `parrot data` provides the demo data")
    files = sorted(folder.rglob("*.tsv"))
    if not files:
        raise ParrotError(f"{folder}: holds no .tsv (mix.benchmarks)")
    yield from files
