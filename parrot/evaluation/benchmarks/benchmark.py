"""The benchmark that `params.yaml` names: its files and questions in every language."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion, read_questions
from parrot.evaluation.benchmarks.rotations import check_rotations
from parrot.evaluation.benchmarks.suites import BenchmarkFile

Benchmark = dict[str, list[MultipleChoiceQuestion]]
"""Language -> its questions, in the order of its file."""


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
        if file.circular:
            check_rotations(file.path, benchmark[language], texts=not file.published)


def identify(files: Mapping[str, BenchmarkFile], benchmark: Benchmark) -> dict[str, dict[str, Any]]:
    """Language -> what tells its file from any other: name, hash, number of questions, whether published."""
    return {
        language: {
            "file": file.path.name,
            "sha256": hashlib.sha256(file.path.read_bytes()).hexdigest(),
            "questions": len(benchmark[language]),
            "published": file.published,
        }
        for language, file in files.items()
    }
