"""MMMB and MMBench files: a TSV of multiple-choice questions with base64 pictures.

Format: https://github.com/open-compass/VLMEvalKit/blob/main/docs/en/Development.md (Table 1).
"""

import base64
import binascii
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parrot.data.images import ImageStore
from parrot.data.records import IMAGE_TOKEN, Image, Message, Record
from parrot.data.rejects import Rejected
from parrot.errors import ParrotError

REQUIRED = ("index", "question", "A", "B", "answer", "category", "image")
MAX_REFERENCE = 64
"""An `image` of at most this many characters is the index of the row that holds the picture."""

csv.field_size_limit(1 << 30)  # pictures; the default is 128 KiB


@dataclass(frozen=True, slots=True)
class Question:
    """One row: `options` maps a letter to its text, `answer` is one of the letters.

    An empty cell is no option. "None" and "N/A" are options: pandas drops them, which leaves the
    benchmark's own reader with questions whose right answer is gone.
    """

    index: int
    question: str
    hint: str
    options: dict[str, str]
    answer: str
    category: str
    split: str
    image: bytes


def read_questions(path: Path | str) -> Iterator[Question]:
    """The questions of a TSV, one by one; of the pictures only shared ones stay in memory.

    Columns are read by name; `hint`, `split` and the options from C on may be absent.

    Raises:
        ParrotError: the file is missing or no such TSV, or a cell is wrong; names row and column.
            The header is row 1.
    """
    path = Path(path)
    shared = _shared_pictures(path)
    for row, cells in _rows(path):
        options = {letter: text for letter, text in cells.items() if _is_option(letter) and text}
        if not options:
            raise _wrong(path, row, "A", "the question has no options")
        answer = cells["answer"].strip()
        if answer not in options:
            raise _wrong(path, row, "answer", f"{answer!r} is none of the options {', '.join(options)}")
        if not cells["question"].strip():
            raise _wrong(path, row, "question", "empty")
        if not cells["category"].strip():
            raise _wrong(path, row, "category", "empty")
        image = cells["image"]
        reference = _reference(image)
        yield Question(
            index=_index(path, row, cells),
            question=cells["question"],
            hint=cells.get("hint", ""),
            options=options,
            answer=answer,
            category=cells["category"],
            split=cells.get("split", ""),
            image=_picture(path, row, image) if reference is None else shared[reference],
        )


def to_record(
    question: Question, number: int, language: str, source: str, store: ImageStore | None
) -> Record:
    """A question as training data: it asks for the letter of the right option.

    Raises:
        Rejected: its text holds an image placeholder.
    """
    lines = [question.question, *(f"{letter}. {text}" for letter, text in question.options.items())]
    if question.hint:
        lines.insert(0, question.hint)
    asked = "\n".join(lines)
    if IMAGE_TOKEN in asked:
        raise Rejected("question", f"placeholders: {IMAGE_TOKEN} in the question's text")
    messages = (Message("user", f"{IMAGE_TOKEN}\n{asked}"), Message("assistant", question.answer))
    name = str(question.index)
    return Record(name, source, language, messages, (Image(name, question.image),))


def _shared_pictures(path: Path) -> dict[int, bytes]:
    """The pictures that other rows refer to, by index; also checks that indices are unique."""
    rows_by_index: dict[int, int] = {}
    references: dict[int, int] = {}
    for row, cells in _rows(path):
        index = _index(path, row, cells)
        if index in rows_by_index:
            raise _wrong(path, row, "index", f"{index} is already that of row {rows_by_index[index]}")
        rows_by_index[index] = row
        if (reference := _reference(cells["image"])) is not None:
            references.setdefault(reference, row)
    if not references:
        return {}
    pictures = {}
    for row, cells in _rows(path):
        if (index := int(cells["index"])) in references and _reference(cells["image"]) is None:
            pictures[index] = _picture(path, row, cells["image"])
    for reference, row in references.items():
        if reference not in pictures:
            raise _wrong(path, row, "image", f"no row of index {reference} has a picture")
    return pictures


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row's number (the header is row 1) and its cells by column."""
    row = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t", strict=True)
            columns = next(reader, [])
            for name in REQUIRED:
                if name not in columns:
                    found = ", ".join(columns) or "none"
                    raise ParrotError(f"{path}: column '{name}' is missing; the file has {found}")
            for row, cells in enumerate(reader, start=2):
                if not cells:
                    continue
                if len(cells) != len(columns):
                    raise ParrotError(f"{path}: row {row}: {len(cells)} cells under {len(columns)} columns; "
                                      f"is a quote or a tab missing?")  # fmt: skip
                yield row, dict(zip(columns, cells, strict=True))
    except FileNotFoundError:
        raise ParrotError(f"{path}: not found; `parrot data` fetches or makes the demo data") from None
    except UnicodeDecodeError as error:
        raise ParrotError(f"{path}: not UTF-8 after row {row} ({error.reason})") from None
    except csv.Error as error:
        raise ParrotError(
            f"{path}: row {row + 1}: not tab-separated with standard quoting: {error}"
        ) from None


def _is_option(column: str) -> bool:
    return len(column) == 1 and "A" <= column <= "Z"


def _reference(image: str) -> int | None:
    """The index that a short `image` names; None if it is a picture (or nonsense: then decoding says so)."""
    text = image.strip()
    return int(text) if len(text) <= MAX_REFERENCE and text.isdecimal() and text.isascii() else None


def _index(path: Path, row: int, cells: dict[str, str]) -> int:
    try:
        return int(cells["index"])
    except ValueError:
        raise _wrong(path, row, "index", f"{cells['index']!r} is no whole number") from None


def _picture(path: Path, row: int, text: str) -> bytes:
    if not text.strip():
        raise _wrong(path, row, "image", "empty")
    if len(text.strip()) <= MAX_REFERENCE:
        raise _wrong(path, row, "image", f"{text!r} is neither a picture nor the index of another row")
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(path, row, "image", f"broken base64: {error}") from None


def _wrong(path: Path, row: int, column: str, problem: str) -> ParrotError:
    return ParrotError(f"{path}: row {row}, column '{column}': {problem}; correct the file or fetch it again")
