"""From the letters read out of answers to hits and accuracies; plain or circular. No model, no files."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from parrot.data.tsv import wrong_cell
from parrot.evaluation.benchmarks.mmmb import Question

ROTATION = 1_000_000
"""A rotation's index is that of its main row plus a multiple of this, where no `g_index` says otherwise."""
NO_SPLIT = "none"

Reader = Callable[[str, Mapping[str, str]], str | None]
"""Answer and options (letter -> text) to the letter that was meant, or None."""


def extract(
    questions: Sequence[Question], predictions: Mapping[int, str], read: Reader
) -> dict[int, str | None]:
    """Index -> what `read` finds in the prediction."""
    return {question.index: read(predictions[question.index], question.options) for question in questions}


def rotation_groups(questions: Sequence[Question]) -> dict[int, list[Question]]:
    """Index of a main row -> the rows that ask the same question; a group may lack its main row."""
    groups: dict[int, list[Question]] = {}
    for question in questions:
        group = question.index % ROTATION if question.group is None else question.group
        groups.setdefault(group, []).append(question)
    return groups


def main_row(group: int, rows: Sequence[Question]) -> Question | None:
    """The row of a group whose index is the group's."""
    return next((question for question in rows if question.index == group), None)


def hits(
    questions: Sequence[Question], extracted: Mapping[int, str | None], *, circular: bool
) -> list[tuple[Question, bool]]:
    """The questions that count, and whether each was answered right.

    Plain, every row counts. Circular, the main row of every group counts, and is right if every row of
    the group is; a group without its main row is left out.
    """
    right = {question.index: extracted[question.index] == question.answer for question in questions}
    if not circular:
        return [(question, right[question.index]) for question in questions]
    return [
        (main, all(right[question.index] for question in rows))
        for group, rows in rotation_groups(questions).items()
        if (main := main_row(group, rows)) is not None
    ]


def accuracies(scored: Sequence[tuple[Question, bool]]) -> dict[str, Any]:
    """`overall`, and `category` and `l2_category` (name -> share of hits, 0 to 1).

    A question without a name counts in no category of that kind.
    """
    return {
        "overall": fmean(hit for _, hit in scored),
        "category": _by_name([(question.category, hit) for question, hit in scored]),
        "l2_category": _by_name([(question.l2_category, hit) for question, hit in scored]),
    }


def by_split(scored: Sequence[tuple[Question, bool]]) -> dict[str, dict[str, Any]]:
    """Name of a split -> its accuracies; where the file names none, the one split `none`."""
    names = sorted({question.split or NO_SPLIT for question, _ in scored})
    return {
        name: accuracies([pair for pair in scored if (pair[0].split or NO_SPLIT) == name]) for name in names
    }


def paired(scored: Sequence[tuple[Question, bool]]) -> dict[str, Any]:
    """How often both of a pair are right.

    A pair is two questions about one picture, of one category and with the same two options (such as Yes
    and No, in either order), whose right answers differ. `accuracy` is None where there is no pair.
    """
    alike: dict[tuple[Any, ...], list[tuple[str, bool]]] = {}
    for question, hit in scored:
        texts = frozenset(question.options.values())
        if len(question.options) == len(texts) == 2:
            key = (question.picture, question.category, texts)
            alike.setdefault(key, []).append((question.options[question.answer], hit))
    pairs = both = 0
    for members in alike.values():
        asked = Counter(text for text, _ in members)
        right = Counter(text for text, hit in members if hit)
        if len(asked) == 2:
            one, other = asked
            pairs += asked[one] * asked[other]
            both += right[one] * right[other]
    return {"pairs": pairs, "accuracy": both / pairs if pairs else None}


def check_rotations(path: Path, questions: Sequence[Question], *, texts: bool) -> None:
    """See that every group has its main row, and asks one question with its options in another order.

    Args:
        texts: compare categories, options and answers too; a published file is taken as it is.

    Raises:
        ParrotError: one does not; names row and column.
    """
    for group, rows in rotation_groups(questions).items():
        main = main_row(group, rows)
        if main is None:
            problem = f"a rotation of question {group}, whose main row (index {group}) is missing"
            raise wrong_cell(path, rows[0].row, "index", problem)
        for question in rows if texts else ():
            of_main = f"row {main.row}, the main row of question {group}"
            if question.category != main.category:
                problem = f"{question.category!r}, but {main.category!r} in {of_main}"
                raise wrong_cell(path, question.row, "category", problem)
            if sorted(question.options.values()) != sorted(main.options.values()):
                letter = next(iter(question.options))
                raise wrong_cell(path, question.row, letter, f"the options are not those of {of_main}")
            if question.options[question.answer] != main.options[main.answer]:
                problem = f"{question.answer!r} is not the text that is right in {of_main}"
                raise wrong_cell(path, question.row, "answer", problem)


def _by_name(pairs: Sequence[tuple[str, bool]]) -> dict[str, float]:
    names: dict[str, list[bool]] = {}
    for name, hit in pairs:
        if name:
            names.setdefault(name, []).append(hit)
    return {name: fmean(values) for name, values in sorted(names.items())}
