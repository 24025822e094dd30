"""An evaluation folder as other programs read it: `settings.json` and `predictions.jsonl`."""

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parrot.errors import ParrotError
from parrot.evaluation.scoring.exchange import SETTINGS

FOLDER = "evaluation"
"""The name of such a folder among the artifacts of an MLflow run."""
PREDICTIONS = "predictions.jsonl"


@dataclass(frozen=True)
class Reply:
    """What a model answered in one run; `choice` is None where the answer could not be read."""

    choice: str | None
    hit: bool
    text: str | None


@dataclass(frozen=True)
class Answered:
    """One question in one language. Questions of one cluster share a picture or are rotations."""

    language: str
    index: int
    category: str
    answer: str
    cluster: str
    replies: dict[str, Reply]
    """Run -> reply."""


@dataclass(frozen=True)
class Evaluation:
    """What was asked, and what was answered, in the order of the file."""

    name: str
    settings: dict[str, Any]
    answered: list[Answered]

    @property
    def runs(self) -> list[str]:
        return list(self.settings["prompts"])


def read_evaluation(folder: Path, name: str | None = None) -> Evaluation:
    """Read an evaluation folder; `name` is what errors and tables call it, else its path.

    Raises:
        ParrotError: a file is missing or broken, or a question is there twice; names file and line.
    """
    name = name or str(folder)
    settings = _parse(_read(folder, SETTINGS, name), f"{name}: {SETTINGS}")
    runs = settings.get("prompts")
    if not isinstance(runs, dict) or not runs:
        raise ParrotError(f"{name}: {SETTINGS}: 'prompts' names no run; evaluate the model again")
    answered: list[Answered] = []
    lines: dict[tuple[str, int], int] = {}
    for number, line in enumerate(io.StringIO(_read(folder, PREDICTIONS, name)), start=1):
        place = f"{name}: {PREDICTIONS}: line {number}"
        found = _answered(_parse(line, place), list(runs), place)
        earlier = lines.setdefault((found.language, found.index), number)
        if earlier != number:
            raise ParrotError(f"{place}: question {found.index} in '{found.language}' is already in "
                              f"line {earlier}; evaluate the model again")  # fmt: skip
        answered.append(found)
    if not answered:
        raise ParrotError(f"{name}: {PREDICTIONS}: holds no question; evaluate the model again")
    return Evaluation(name, settings, answered)


def grouped(answered: Iterable[Answered], key: Callable[[Answered], str]) -> dict[str, list[Answered]]:
    """Key -> its questions, both in the order of their first appearance."""
    groups: dict[str, list[Answered]] = {}
    for question in answered:
        groups.setdefault(key(question), []).append(question)
    return groups


def columns(answered: Sequence[Answered]) -> tuple[list[str], list[str]]:
    """The language and the cluster of each question."""
    return [question.language for question in answered], [question.cluster for question in answered]


def _read(folder: Path, file: str, name: str) -> str:
    try:
        return (folder / file).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise ParrotError(
            f"{name}: no evaluation ({file} is missing); `parrot evaluate` writes such a folder"
        ) from None
    except OSError as error:
        raise ParrotError(f"{name}: {file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ParrotError(
            f"{name}: {file}: not UTF-8 ({error.reason} at byte {error.start}); evaluate the model again"
        ) from None


def _parse(text: str, place: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:  # besides bad syntax: thousands of digits, or of brackets
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise ParrotError(f"{place}: no JSON ({reason}); evaluate the model again") from None
    if not isinstance(tree, dict):
        raise ParrotError(f"{place}: no JSON object; evaluate the model again")
    return tree


def _answered(row: dict[str, Any], runs: list[str], place: str) -> Answered:
    return Answered(
        language=_value(row, "language", str, place),
        index=_value(row, "index", int, place),
        category=_value(row, "category", str, place),
        answer=_value(row, "answer", str, place),
        cluster=_value(row, "cluster", str, place),
        replies={run: _reply(_value(row, run, dict, place), f"{place}: {run}") for run in runs},
    )


def _reply(row: dict[str, Any], place: str) -> Reply:
    return Reply(
        choice=_value(row, "choice", str | None, place),
        hit=_value(row, "hit", bool, place),
        text=_value({"text": None} | row, "text", str | None, place),
    )


def _value(row: dict[str, Any], key: str, kind: Any, place: str) -> Any:
    if key not in row:
        raise ParrotError(f"{place}: '{key}' is missing; evaluate the model again")
    value = row[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ParrotError(f"{place}: '{key}' cannot be {json.dumps(value)[:80]}; evaluate the model again")
    return value
