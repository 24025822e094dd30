"""Circular benchmarks: a question is asked in every rotation of its options, and all must be right."""

from collections.abc import Sequence
from pathlib import Path

from parrot.data.tsv import wrong_cell
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion

ROTATION = 1_000_000
"""A rotation's index is that of its main row plus a multiple of this, where no `g_index` says otherwise."""


def rotation_groups(questions: Sequence[MultipleChoiceQuestion]) -> dict[int, list[MultipleChoiceQuestion]]:
    """Index of a main row -> the rows that ask the same question; a group may lack its main row."""
    groups: dict[int, list[MultipleChoiceQuestion]] = {}
    for question in questions:
        group = question.index % ROTATION if question.group is None else question.group
        groups.setdefault(group, []).append(question)
    return groups


def main_row(group: int, rows: Sequence[MultipleChoiceQuestion]) -> MultipleChoiceQuestion | None:
    """The row of a group whose index is the group's."""
    return next((question for question in rows if question.index == group), None)


def scored_groups(
    questions: Sequence[MultipleChoiceQuestion], *, circular: bool
) -> list[tuple[MultipleChoiceQuestion, list[MultipleChoiceQuestion]]]:
    """The questions that count, each with the rows that must all be right for it.

    Plain, every row counts for itself. Circular, the main row of every group counts; a group without its main
    row is left out.
    """
    if not circular:
        return [(question, [question]) for question in questions]
    return [
        (main, rows)
        for group, rows in rotation_groups(questions).items()
        if (main := main_row(group, rows)) is not None
    ]


def check_rotations(path: Path, questions: Sequence[MultipleChoiceQuestion], *, texts: bool) -> None:
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
