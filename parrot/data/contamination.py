"""Pictures and questions of benchmarks, which no training may see; nor what is nearly the same."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from parrot.data.digests import digest
from parrot.data.images import decode_base64_image, decode_image
from parrot.data.looks import LOOK_BITS, as_rows, distances, look
from parrot.data.reject_tables import read_rejects
from parrot.data.rejects import Rejected, kind
from parrot.data.same_questions import SameQuestions
from parrot.data.text_windows import normalized
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
                [asked] = normalized(["\n".join(cells.get(column) or "" for column in _QUESTION)])
                if len(asked.decode()) >= _LEAST_CHARACTERS:
                    questions.setdefault(asked, where)
        self._rows = as_rows(list(self._looks))
        self._answered: dict[bytes, str | None] = {}
        """Looks that were compared, and what was found: a picture often comes again."""
        self._asked = list(questions.values())
        self._questions = (
            SameQuestions(list(questions), same_question) if questions and same_question else None
        )

    def same_picture(self, images: Sequence[tuple[str, bytes]], looks: Sequence[bytes]) -> Rejected | None:
        """What is said against a record with a benchmark's picture.

        Args:
            images: each one's name and digest.
        """
        for name, picture in images:
            if where := self._pictures.get(picture):
                return Rejected("image", f"{CONTAMINATED}: {name} is also in {where}")
        for (name, _), seen in zip(images, looks, strict=False):
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

    def same_questions(self, texts: Sequence[str]) -> dict[int, str]:
        """Which texts are a benchmark's questions, and where in it what each is nearest to stands."""
        if not self._questions:
            return {}
        found = self._questions.find(normalized(texts))
        return {
            text: f"{self._asked[question]} ({share:.0%} of it)" for text, (question, share) in found.items()
        }


def contaminated(number: int, where: str) -> Rejected:
    """What is said against a record of whose messages one is a benchmark's question."""
    return Rejected(f"messages[{number}].content", f"{CONTAMINATED}: asks what is asked in {where}")


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
