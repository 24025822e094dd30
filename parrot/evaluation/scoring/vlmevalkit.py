"""VLMEvalKit's way of reading questions and answers, for numbers equal to its own.

Rules of commit e8e78f05 in `exact_matching` mode, and of the version of 2024 that the paper's authors
bundled; odd ones included. Texts are in `vlmevalkit.yaml`.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion, TextRow, is_option, parse_questions
from parrot.yaml_files import read_yaml

REFUSED = "Z"
_TEXTS = read_yaml(Path(__file__).with_name("vlmevalkit.yaml"))

_SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_STATED = re.compile(r"answer\s+is\s+\**([A-D])", re.IGNORECASE)
_LAST_TOKENS = 4
_READ = ("answer", "category", "l2-category", "split")


def extract_answer(answer: str, options: Mapping[str, str], *, of_2024: bool = False) -> str | None:
    """The letter that VLMEvalKit reads from an answer, `REFUSED`, or None.

    | # | rule |
    |---|---|
    | 1 | "Failed to obtain answer via API": on to 6 |
    | 2 | one of the fixed refusals: Z |
    | 3 | exactly one option letter among the tokens, first met in the last four of them: that one |
    | 4 | no letter, but a token Z: Z |
    | 5 | first "answer is" before a letter from A to D, in either case, even of a word: that option |
    | 6 | at most twice as long as the options together, and holds the text of exactly one: that one |

    The version of 2024 has no rule 5, and no limits in rules 3 and 6.
    """
    if _TEXTS["failure"] not in answer:
        if any(refusal in answer for refusal in _TEXTS["refusals"]):
            return REFUSED
        tokens = answer.translate(_SEPARATORS).split()
        letters = [letter for letter in options if letter in tokens]
        if len(letters) == 1 and (of_2024 or tokens.index(letters[0]) >= len(tokens) - _LAST_TOKENS):
            return letters[0]
        if not letters and REFUSED in tokens:
            return REFUSED
        stated = None if of_2024 else _STATED.search(answer)
        if stated and stated[1].upper() in options:
            return stated[1].upper()
    lowered = answer.lower()
    if not of_2024 and len(lowered) > 2 * sum(map(len, options.values())):
        return None
    held = [letter for letter, text in options.items() if text.lower() in lowered]
    return held[0] if len(held) == 1 else None


def read_questions(path: Path, rows: Sequence[TextRow]) -> list[MultipleChoiceQuestion]:
    """The questions as VLMEvalKit sees them.

    A row without image is gone, and so is an option that pandas takes for a missing value; numbers are
    those of their column's type ("7" in a column with gaps is "7.0"); the answer keeps its spaces; some
    names of categories are shortened.

    Raises:
        ParrotError: a cell of a row that is kept is wrong; names row and column.
    """
    columns = [name for name in rows[0].cells if is_option(name) or name in _READ]
    seen = through_pandas(
        {name: [row.cells[name] for row in rows] for name in columns}
        | {"image": ["a picture" if row.digest else row.cells["image"] for row in rows]}
    )
    kept = [place for place, image in enumerate(seen["image"]) if image]
    short = _TEXTS["abbreviations"]
    questions = []
    for place, question in zip(kept, parse_questions(path, [rows[place] for place in kept]), strict=True):
        cells = {name: values[place] for name, values in seen.items()}
        category, l2_category = cells["category"], cells.get("l2-category", "")
        questions.append(
            replace(
                question,
                options={name: text for name, text in cells.items() if text and is_option(name)},
                answer=cells["answer"],
                category=short.get(category, category),
                l2_category=short.get(l2_category, l2_category),
                split=cells.get("split", ""),
            )
        )
    return questions


def through_pandas(columns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Each column as `pandas.read_csv` and `str` leave it; a missing value is empty."""
    table = pd.DataFrame(columns).to_csv(sep="\t", index=False, quoting=csv.QUOTE_ALL)
    frame = pd.read_csv(io.StringIO(table, newline=""), sep="\t", index_col=False)
    return {
        name: [
            "" if value is None else str(value) for value in column.astype(object).where(column.notna(), None)
        ]
        for name, column in frame.items()
    }


def read_predictions(predictions: Mapping[int, str]) -> dict[int, str]:
    """Predictions as VLMEvalKit sees them: one that pandas takes for a missing value is "nan"."""
    texts = through_pandas({"prediction": list(predictions.values())})["prediction"]
    return {index: text or "nan" for index, text in zip(predictions, texts, strict=True)}
