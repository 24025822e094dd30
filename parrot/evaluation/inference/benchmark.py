"""The benchmark that `params.yaml` names: its questions in every language."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from parrot.config import Evaluate
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import Question, read_questions
from parrot.evaluation.benchmarks.suites import load_suites
from parrot.evaluation.scoring.multiple_choice import check_rotations


def read_benchmark(params: Evaluate, languages: Sequence[str]) -> dict[str, list[Question]]:
    """Language -> its questions, in the order of its file.

    Raises:
        ParrotError: a language has no file or no question, or lacks a category that another one has.
    """
    paths = _paths(params, languages)
    pictures: dict[bytes, bytes] = {}  # one copy of a picture, in however many languages it is asked about
    benchmark = {
        language: [
            replace(question, image=pictures.setdefault(question.image, question.image))
            for question in read_questions(path)
        ]
        for language, path in paths.items()
    }
    categories = {language: {q.category for q in questions} for language, questions in benchmark.items()}
    everywhere = set().union(*categories.values())
    for language, path in paths.items():
        if not benchmark[language]:
            raise ParrotError(f"{path}: holds no question; replace it by the published file")
        if missing := everywhere - categories[language]:
            raise ParrotError(f"{path}: no question of category {', '.join(sorted(missing))}, "
                              f"which another language has; complete the file")  # fmt: skip
        if params.circular:
            check_rotations(path, benchmark[language], texts=not is_published(path))
    return benchmark


def is_published(path: Path) -> bool | None:
    """Whether a file has the bytes of the published one of its name; None where that is not known."""
    known = {
        name: suite.md5[code]
        for suite in load_suites().values()
        for code, name in suite.named(suite.file).items()
        if code in suite.md5
    }
    if path.name not in known:
        return None
    return hashlib.md5(path.read_bytes()).hexdigest() == known[path.name]


def identify(params: Evaluate, benchmark: Mapping[str, Sequence[Question]]) -> dict[str, dict[str, Any]]:
    """Language -> what tells its file from any other: name, hash, number of questions, whether published."""
    return {
        language: {
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "questions": len(benchmark[language]),
            "published": is_published(path),
        }
        for language, path in _paths(params, list(benchmark)).items()
    }


def _paths(params: Evaluate, languages: Sequence[str]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for language in languages:
        if language not in params.files:
            raise ParrotError(f"params.yaml: evaluate.files: no benchmark file for '{language}'; name one")
        paths[language] = Path(params.benchmark) / params.files[language]
        if not paths[language].is_file():
            raise ParrotError(f"{paths[language]}: not found; run `parrot data`, "
                              f"or correct `evaluate` in params.yaml")  # fmt: skip
    return paths
