"""MMMB and MMBench files: a TSV of multiple-choice questions with base64 pictures.

Format: https://github.com/open-compass/VLMEvalKit/blob/main/docs/en/Development.md (Table 1).
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    """The questions of a TSV with their pictures.

    Columns are read by name; `hint`, `split`, `l2-category`, `g_index` and the options from C on may
    be absent.

    Raises:
        ParrotError: the file is missing or no such TSV, or a cell is wrong; names row and column.
    """
    questions = parse_questions(Path(path), read_texts(Path(path)), language)
    pictures = read_pictures(Path(path), {question.picture for question in questions})
    yield from (replace(question, image=pictures[question.picture]) for question in questions)


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
            digest = hashlib.sha256(_picture(path, number, cells["image"])).hexdigest()
            cells["image"] = ""
        cells["index"] = str(index)
        rows[index] = TextRow(number, index, cells, digest)
    return list(rows.values())


def parse_questions(path: Path, rows: Sequence[TextRow], language: str = "") -> list[MultipleChoiceQuestion]:
    """Questions without pictures.

    Raises:
        ParrotError: a cell is wrong; names row and column of `path`.
    """
    by_index = {row.index: row for row in rows}
    first: dict[str, int] = {}  # digest -> index of the first row with this picture
    for row in rows:
        first.setdefault(row.digest, row.index)
    questions = []
    for row in rows:
        digest = _holder(path, row, by_index).digest
        question = _parse_question(path, row)
        questions.append(replace(question, language=language, picture=first[digest], cluster=digest[:16]))
    return questions


def _holder(path: Path, row: TextRow, by_index: Mapping[int, TextRow]) -> TextRow:
    """The row that holds the picture of `row`: itself, or the one that its cell `image` names."""
    if row.digest:
        return row
    image = row.cells["image"]
    reference = _REFERENCE.fullmatch(image.strip())
    if reference is None:
        problem = f"{image!r} is neither a picture nor the index of another row" if image.strip() else "empty"
        raise wrong_cell(path, row.number, "image", problem)
    named = by_index.get(int(reference[1]))
    if named is None or not named.digest:
        problem = f"no row of index {int(reference[1])} has a picture"
        if named is row:
            problem += ": it is this row"
        elif named:
            problem += f": row {named.number} names another one"
        raise wrong_cell(path, row.number, "image", problem)
    return named


def _parse_question(path: Path, row: TextRow) -> MultipleChoiceQuestion:
    cells = row.cells
    answer = cells["answer"].strip()
    options = {
        letter: text
        for letter, text in cells.items()
        if is_option(letter) and text and (text != MISSING or letter == answer)
    }
    if not options:
        raise wrong_cell(path, row.number, "A", "the question has no options")
    if answer not in options:
        problem = f"{answer!r} is none of the options {', '.join(options)}"
        raise wrong_cell(path, row.number, "answer", problem)
    for column in ("question", "category"):
        if not cells[column].strip():
            raise wrong_cell(path, row.number, column, "empty")
    known = {name: "" if text == MISSING else text for name, text in cells.items()}
    group = cells.get("g_index")
    return MultipleChoiceQuestion(
        index=row.index,
        question=cells["question"],
        hint=known.get("hint", ""),
        options=options,
        answer=answer,
        category=cells["category"],
        split=known.get("split", ""),
        l2_category=known.get("l2-category", ""),
        group=None if group is None else whole_number(path, row.number, "g_index", group),
        row=row.number,
    )


def is_option(column: str) -> bool:
    """Whether a column of this name holds an option."""
    return len(column) == 1 and "A" <= column <= "Z"


def read_pictures(path: Path, indices: Collection[int | None]) -> dict[int | None, bytes]:
    """Index -> picture, of rows that hold one themselves."""
    return {
        index: _picture(path, row, cells["image"])
        for row, cells in read_rows(path, REQUIRED)
        if (index := whole_number(path, row, "index", cells["index"])) in indices
    }


def _picture(path: Path, row: int, text: str) -> bytes:
    try:
        return decode_base64_image(text)
    except ValueError as error:
        raise wrong_cell(path, row, "image", str(error)) from None
