"""The benchmark that `params.yaml` names: its files and questions in every language.

In a circular one a question is asked in every rotation of its options, and all must be right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL.Image import Image

from parrot.config import Evaluate
from parrot.data.images import BACKGROUND, decode
from parrot.data.tsv import wrong_cell
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion, read_questions
from parrot.evaluation.benchmarks.suites import BenchmarkFile
from parrot.files import file_digest

Benchmark = dict[str, list[MultipleChoiceQuestion]]
"""Language -> its questions, in the order of its file."""
ROTATION = 1_000_000
"""A rotation's index is that of its main row plus a multiple of this, where no `g_index` says otherwise."""


def benchmark_files(params: Evaluate, languages: Sequence[str]) -> dict[str, BenchmarkFile]:
    """Language -> its file.

    Raises:
        ParrotError: a language has no file, or VLMEvalKit would take a file for another one, or for one in
            rotations.
    """
    files: dict[str, BenchmarkFile] = {}
    names: dict[str, Path] = {}
    for language in languages:
        if language not in params.files:
            raise ParrotError(f"params.yaml: evaluate.files: no benchmark file for '{language}'; name one")
        path = Path(params.benchmark) / params.files[language]
        if not path.is_file():
            raise ParrotError(f"{path}: not found; run `parrot data`, or correct `evaluate` in params.yaml")
        files[language] = BenchmarkFile.of(path, language, circular=params.circular)
        if (other := names.setdefault(files[language].vlmevalkit_name, path)) is not path:
            raise ParrotError(f"{path}: VLMEvalKit could not tell it from {other}; give one another name")
    return files


def read_benchmark(files: Mapping[str, BenchmarkFile]) -> Benchmark:
    """All questions with their pictures.

    Raises:
        ParrotError: as `read_questions` and `check_benchmark`.
    """
    pictures: dict[bytes, bytes] = {}  # one copy of a picture, in however many languages it is asked about
    benchmark = {
        language: [
            replace(question, image=pictures.setdefault(question.image, question.image))
            for question in read_questions(file.path, language)
        ]
        for language, file in files.items()
    }
    check_benchmark(files, benchmark)
    return benchmark


def decoded(question: MultipleChoiceQuestion, image: bytes, background: str = BACKGROUND) -> Image:
    """The picture `image`, shown with this question.

    Raises:
        ParrotError: it cannot be decoded; names the question.
    """
    try:
        return decode(image, background)
    except ParrotError as error:
        place = f"question {question.index} in '{question.language}', column 'image'"
        raise ParrotError(f"{place}: {error}") from None


def check_benchmark(files: Mapping[str, BenchmarkFile], benchmark: Benchmark) -> None:
    """See that the languages ask about the same.

    Raises:
        ParrotError: a language has no question, or lacks a category that another one has, or what is to be
            rotations of a question is not.
    """
    categories = {language: {q.category for q in questions} for language, questions in benchmark.items()}
    everywhere = set().union(*categories.values())
    for language, file in files.items():
        if not benchmark[language]:
            raise ParrotError(f"{file.path}: holds no question; replace it by the published file")
        if missing := everywhere - categories[language]:
            raise ParrotError(f"{file.path}: no question of category {', '.join(sorted(missing))}, "
                              f"which another language has; complete the file")  # fmt: skip
        check_rotations(file, benchmark[language])


def identify(files: Mapping[str, BenchmarkFile], benchmark: Benchmark) -> dict[str, dict[str, Any]]:
    """Language -> what tells its file from any other: name, hash, number of questions, whether published."""
    return {
        language: {
            "file": file.path.name,
            "sha256": file_digest(file.path),
            "questions": len(benchmark[language]),
            "published": file.published,
        }
        for language, file in files.items()
    }


def rotation_groups(questions: Sequence[MultipleChoiceQuestion]) -> dict[int, list[MultipleChoiceQuestion]]:
    """Index of a main row -> the rows that ask the same question; a group may lack its main row."""
    groups: dict[int, list[MultipleChoiceQuestion]] = {}
    for question in questions:
        group = question.index % ROTATION if question.group is None else question.group
        groups.setdefault(group, []).append(question)
    return groups


def scored_groups(
    questions: Sequence[MultipleChoiceQuestion], *, circular: bool
) -> list[tuple[MultipleChoiceQuestion, list[MultipleChoiceQuestion]]]:
    """The questions that count, each with the rows that must all be right for it.

    Plain, every row counts for itself. Circular, the main row of every group counts; a group without its main
    row is left out.
    """
    if not circular:
        return [(question, [question]) for question in questions]
    groups = rotation_groups(questions).items()
    return [(main, rows) for group, rows in groups for main in rows if main.index == group]


def check_rotations(file: BenchmarkFile, questions: Sequence[MultipleChoiceQuestion]) -> None:
    """See that every group has its main row, and asks one question with its options in another order.

    The texts of a published file are taken as they are. A file that is not circular has no groups.

    Raises:
        ParrotError: a group does not, names row and column; or a circular file has no rotations.
    """
    path = file.path
    groups = rotation_groups(questions) if file.circular else {}
    if groups and len(groups) == len(questions):
        raise ParrotError(
            f"{path}: asks no question in several rotations of its options, of which all would have to be "
            f"right; add them (their index is the question's plus a multiple of {ROTATION}), or do not ask "
            f"for circular evaluation"
        )
    for group, rows in groups.items():
        main = next((question for question in rows if question.index == group), None)
        if main is None:
            problem = f"a rotation of question {group}, whose main row (index {group}) is missing"
            raise wrong_cell(path, rows[0].row, "index", problem)
        for question in () if file.published else rows:
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
