"""MMMB and MMBench files: a TSV of multiple-choice questions with base64 pictures.

Format: https://github.com/open-compass/VLMEvalKit/blob/main/docs/en/Development.md (Table 1).
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from parrot.data.images import decode_base64_image
from parrot.data.tsv import read_rows, whole_number, wrong_cell

REQUIRED = ("index", "question", "A", "B", "answer", "category", "image")
MAX_REFERENCE = 64
"""An `image` of at most this many characters is the index of the row that holds the picture."""
MISSING = "nan"
"""What a table that went through `str` holds where pandas had nothing."""

_REFERENCE = re.compile(r"([0-9]+)(?:\.0*)?")


@dataclass(frozen=True, slots=True)
class MultipleChoiceQuestion:
    """One row: `options` maps a letter to its text, `answer` is one of the letters.

    An empty cell is no option, nor is one of `MISSING`, unless it is the answer. "None" and "N/A" are
    options: pandas drops them, which leaves the benchmark's own reader with questions whose right answer
    is gone. What is not known of a question is empty.
    """

    index: int
    language: str = ""
    answer: str = ""
    category: str = ""
    question: str = ""
    hint: str = ""
    options: dict[str, str] = field(default_factory=dict)
    split: str = ""
    image: bytes = b""
    l2_category: str = ""
    group: int | None = None
    """`g_index`: which rows are rotations of one question; None if the file does not say."""
    picture: int | None = None
    """Index of the first row of the file that holds the picture; None if it was not read from a file."""
    cluster: str = ""
    """The same for questions about the same picture, in all languages: the beginning of its hash."""
    row: int = 0
    """Where it stands in its file; the header is row 1."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """A row as it stands in a file, but for its picture, of which the hash is left."""

    number: int
    """The header is row 1."""
    index: int
    cells: dict[str, str]
    """Column -> text; `image` is empty where it held a picture, and `index` has no decimals."""
    digest: str
    """SHA-256 of the picture; empty where `image` names another row, or nothing."""


def read_questions(path: Path | str, language: str = "") -> Iterator[MultipleChoiceQuestion]:
    """The questions of a TSV, one by one; of the pictures only shared ones stay in memory.

    Columns are read by name; `hint`, `split`, `l2-category`, `g_index` and the options from C on may
    be absent.

    Raises:
        ParrotError: the file is missing or no such TSV, or a cell is wrong; names row and column.
            The header is row 1.
    """
    path = Path(path)
    rows = read_texts(path)
    questions = parse_questions(path, rows, language)
    references = {_reference(row.cells["image"]) for row in rows if not row.digest}
    shared = read_pictures(path, references) if references else {}
    for question, (row, cells) in zip(questions, read_rows(path, REQUIRED), strict=True):
        reference = _reference(cells["image"])
        image = _picture(path, row, cells["image"]) if reference is None else shared[reference]
        yield replace(question, image=image)


def read_texts(path: Path) -> list[TextRow]:
    """The rows of a TSV without their pictures, in one pass.

    Raises:
        ParrotError: the file is missing or no such TSV, an index is wrong or stands there twice, or a picture
            is no base64.
    """
    rows: dict[int, TextRow] = {}
    for number, cells in read_rows(path, REQUIRED):
        index = whole_number(path, number, "index", cells["index"])
        if index in rows:
            raise wrong_cell(path, number, "index", f"{index} is already that of row {rows[index].number}")
        digest = ""
        if len(cells["image"].strip()) > MAX_REFERENCE:
            picture = _picture(path, number, cells["image"])
            digest = hashlib.sha256(picture).hexdigest()
            cells["image"] = ""
        cells["index"] = str(index)
        rows[index] = TextRow(number, index, cells, digest)
    return list(rows.values())


def parse_questions(path: Path, rows: Sequence[TextRow], language: str = "") -> list[MultipleChoiceQuestion]:
    """Questions without pictures.

    Raises:
        ParrotError: a cell is wrong; names row and column of `path`.
    """
    holders = _picture_holders(path, rows)
    digests = {row.index: row.digest for row in rows}
    return [
        replace(
            _parse_question(path, row),
            language=language,
            picture=(holder := holders[row.index]),
            cluster=digests[holder][:16],
        )
        for row in rows
    ]


def _picture_holders(path: Path, rows: Sequence[TextRow]) -> dict[int, int]:
    """Index of a row -> index of the first row that holds the picture it shows."""
    first: dict[str, int] = {}
    holders = {row.index: first.setdefault(row.digest, row.index) for row in rows if row.digest}
    references = {row.index: (row, _checked_reference(path, row)) for row in rows if not row.digest}
    for index, (row, reference) in references.items():
        if reference not in holders:
            problem = f"no row of index {reference} has a picture"
            if reference == index:
                problem += ": it is this row"
            elif reference in references:
                problem += f": row {references[reference][0].number} names another one"
            raise wrong_cell(path, row.number, "image", problem)
    return holders | {index: holders[reference] for index, (_, reference) in references.items()}


def _parse_question(path: Path, row: TextRow) -> MultipleChoiceQuestion:
    number, cells = row.number, row.cells
    answer = cells["answer"].strip()
    options = {
        letter: text
        for letter, text in cells.items()
        if is_option(letter) and text and (text != MISSING or letter == answer)
    }
    if not options:
        raise wrong_cell(path, number, "A", "the question has no options")
    if answer not in options:
        raise wrong_cell(path, number, "answer", f"{answer!r} is none of the options {', '.join(options)}")
    if not cells["question"].strip():
        raise wrong_cell(path, number, "question", "empty")
    if not cells["category"].strip():
        raise wrong_cell(path, number, "category", "empty")
    group = cells.get("g_index")
    return MultipleChoiceQuestion(
        index=row.index,
        question=cells["question"],
        hint=_optional(cells, "hint"),
        options=options,
        answer=answer,
        category=cells["category"],
        split=_optional(cells, "split"),
        l2_category=_optional(cells, "l2-category"),
        group=None if group is None else whole_number(path, number, "g_index", group),
        row=number,
    )


def _optional(cells: dict[str, str], column: str) -> str:
    text = cells.get(column, "")
    return "" if text == MISSING else text


def is_option(column: str) -> bool:
    """Whether a column of this name holds an option."""
    return len(column) == 1 and "A" <= column <= "Z"


def read_pictures(path: Path, indices: Collection[int | None]) -> dict[int, bytes]:
    """Index -> picture, of rows that hold one themselves."""
    return {
        index: _picture(path, row, cells["image"])
        for row, cells in read_rows(path, REQUIRED)
        if (index := whole_number(path, row, "index", cells["index"])) in indices
    }


def _reference(image: str) -> int | None:
    """The index that a short `image` names; None if it is a picture."""
    text = image.strip()
    found = _REFERENCE.fullmatch(text) if len(text) <= MAX_REFERENCE else None
    return int(found[1]) if found else None


def _checked_reference(path: Path, row: TextRow) -> int:
    image = row.cells["image"]
    if not image.strip():
        raise wrong_cell(path, row.number, "image", "empty")
    reference = _reference(image)
    if reference is None:
        problem = f"{image!r} is neither a picture nor the index of another row"
        raise wrong_cell(path, row.number, "image", problem)
    return reference


def _picture(path: Path, row: int, text: str) -> bytes:
    try:
        return decode_base64_image(text)
    except ValueError as error:
        raise wrong_cell(path, row, "image", str(error)) from None
