"""Pictures and questions of benchmarks, which no training may see; nor what is nearly the same."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parrot.data.digests import digest
from parrot.data.images import decode_base64_image, decode_image
from parrot.data.looks import LOOK_BITS, as_rows, distances, look
from parrot.data.records import Message
from parrot.data.rejects import Rejected, kind, read_rejects
from parrot.data.text_windows import Hashes, normalized, window_hashes
from parrot.data.tsv import read_rows, wrong_cell
from parrot.errors import ParrotError

CONTAMINATED = "contaminated"
MAX_REFERENCE = 64
"""An `image` of at most so many characters is the index of the row that holds the picture."""
_QUESTION = ("question", "hint", *"ABCDEFGH")
_LEAST_CHARACTERS = 50
"""A shorter question, its options included, such as "Is it big? Yes. No.", is asked of many pictures."""
_SHARE = 0.7
"""Of a question's windows: so many of them in a text are the question, otherwise laid out or a word apart."""
_REMEMBERED = 100_000
_SHOWN = 5


class Benchmarks:
    """What the TSVs in `folder` and below ask.

    Args:
        near_bits: in which looks may differ of a picture and a benchmark's that are taken for the same; None:
            only equal bytes are.

    Raises:
        ParrotError: it is missing or holds no TSV; or a file is no such table, or a picture cannot be read.
    """

    def __init__(self, folder: Path, near_bits: int | None) -> None:
        self._near_bits = near_bits
        self._pictures: dict[bytes, str] = {}
        """Digest -> file and row."""
        self._looks: dict[bytes, str] = {}
        questions: dict[bytes, str] = {}
        for file in _files(folder):
            for row, cells in read_rows(file, ["image"]):
                where = f"{file}, row {row}"
                if len(cells["image"].strip()) > MAX_REFERENCE:
                    self._add_picture(file, row, cells["image"], where)
                asked = normalized("\n".join(cells.get(column) or "" for column in _QUESTION))
                if len(asked.decode()) >= _LEAST_CHARACTERS:
                    questions.setdefault(asked, where)
        self._rows = as_rows(list(self._looks))
        self._answered: dict[bytes, str | None] = {}
        """Looks that were compared, and what was found: a picture often comes again."""
        self._hashes, self._owners, self._sizes = _distinct_windows(list(questions))
        self._asked = list(questions.values())

    def check(
        self, messages: Sequence[Message], images: Sequence[tuple[str, bytes]], looks: Sequence[bytes]
    ) -> None:
        """See that a record, its pictures given by name and digest, asks nothing that a benchmark asks.

        Raises:
            Rejected: names what it has, and where in a benchmark that is.
        """
        for name, picture in images:
            if where := self._pictures.get(picture):
                raise Rejected("image", f"{CONTAMINATED}: {name} is also in {where}")
        for (name, _), seen in zip(images, looks, strict=False):
            if self._near_bits is not None and (like := self._like(seen, self._near_bits)):
                raise Rejected("image", f"{CONTAMINATED}: {name} looks like the picture in {like}")
        for number, message in enumerate(messages):
            if message.role == "user" and (asked := self._same_question(message.content)):
                raise Rejected(
                    f"messages[{number}].content", f"{CONTAMINATED}: asks what is asked in {asked}"
                )

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

    def _same_question(self, text: str) -> str | None:
        if not len(self._hashes):
            return None
        windows = np.unique(window_hashes([normalized(text)])[0])
        first = np.searchsorted(self._hashes, windows)
        found = self._hashes[np.minimum(first, len(self._hashes) - 1)] == windows
        if found.sum() < _SHARE * self._sizes.min():
            return None
        last = np.searchsorted(self._hashes, windows[found], side="right")
        owners = np.concatenate([self._owners[a:b] for a, b in zip(first[found], last, strict=True)])
        numbers, counts = np.unique(owners, return_counts=True)
        shares = counts / self._sizes[numbers]
        best = int(shares.argmax())
        return f"{self._asked[numbers[best]]} ({shares[best]:.0%} of it)" if shares[best] >= _SHARE else None


def _distinct_windows(texts: Sequence[bytes]) -> tuple[Hashes, NDArray[np.int64], NDArray[np.int64]]:
    """Hashes in order, whose each is, and how many each text has."""
    hashes, owners = window_hashes(texts)
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return hashes[new], owners[new], np.bincount(owners[new], minlength=len(texts))


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
