"""A sample: a question, a model's answers and whether they are right; one type from question to table.

Two folders hold samples as `settings.json` and `predictions.jsonl`: that of `parrot predict`, with what the
model answered, and that of `parrot evaluate`, with what it was found to be worth.
"""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion
from parrot.files import atomic_file

FOLDER = "evaluation"
"""The name of such a folder among the artifacts of an MLflow run."""
SETTINGS, PREDICTIONS, EXPERTS, PROVENANCE = (
    "settings.json",
    "predictions.jsonl",
    "experts.json",
    "provenance.json",
)
Key = tuple[str, int]
"""Language and index of a question."""
Checked = TypeVar("Checked", bound=BaseModel)


@dataclass(frozen=True)
class Answer:
    """The letter that was chosen, and what it was read from."""

    choice: str | None = None
    """None where a written answer has not been read, or could not be."""
    text: str | None = None
    """What the model wrote, if it wrote."""
    scores: dict[str, float] | None = None
    """Letter -> log-likelihood (nats), if options were scored. They differ with the shape of a batch in
    their last digits, and are in no file."""


@dataclass(frozen=True)
class Sample:
    """One question in one language; questions of one `question.cluster` share a picture."""

    question: MultipleChoiceQuestion
    answers: dict[str, Answer] = field(default_factory=dict)
    """Run -> answer."""
    hits: dict[str, bool] = field(default_factory=dict)
    """Run -> whether it is right; in a circular benchmark, whether all rotations are."""
    routing: list[float] | None = None
    """The experts' weights in the first run."""

    @property
    def language(self) -> str:
        return self.question.language

    @property
    def key(self) -> Key:
        return self.question.language, self.question.index


@dataclass(frozen=True)
class Evaluation:
    """What was asked, and what was answered, in the order of the file."""

    name: str
    settings: dict[str, Any]
    samples: list[Sample]

    @property
    def runs(self) -> list[str]:
        return list(self.settings["prompts"])


def grouped(samples: Iterable[Sample], key: Callable[[Sample], str]) -> dict[str, list[Sample]]:
    """Key -> its samples, both in the order of their first appearance."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(key(sample), []).append(sample)
    return groups


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= dotted(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


class _Answered(BaseModel, strict=True):
    choice: str | None = None
    text: str | None = None


class _Predicted(BaseModel, strict=True):
    language: str
    index: int
    answers: dict[str, _Answered]


class _Judged(BaseModel, strict=True):
    choice: str | None
    hit: bool
    text: str | None = None


class _Asked(BaseModel, strict=True):
    language: str
    index: int
    category: str
    answer: str
    cluster: str


def predicted_row(sample: Sample) -> dict[str, Any]:
    """A sample before its answers are judged, as `predict` keeps it: what it chose or wrote in each run."""
    answers = {
        run: {"choice": answer.choice} if answer.text is None else {"text": answer.text}
        for run, answer in sample.answers.items()
    }
    return {"language": sample.language, "index": sample.question.index, "answers": answers}


def judged_row(sample: Sample) -> dict[str, Any]:
    """A sample as `evaluate` keeps it."""
    row: dict[str, Any] = {name: getattr(sample.question, name) for name in _Asked.model_fields}
    for run, answer in sample.answers.items():
        text = {} if answer.text is None else {"text": answer.text}
        row[run] = {"hit": sample.hits[run], "choice": answer.choice, **text}
    return row


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_predicted(folder: Path) -> tuple[dict[str, Any], dict[Key, dict[str, Answer]]]:
    """The settings in a folder of `parrot predict`, and each question's answers by run.

    Raises:
        ParrotError: a file is missing or broken, or a question is there twice; names file and line.
    """
    settings = _settings(folder, str(folder), "predict")
    answers: dict[Key, dict[str, Answer]] = {}
    for place, row in _rows(folder, str(folder), "predict"):
        found = _checked(_Predicted, row, place)
        answers[found.language, found.index] = {
            run: Answer(one.choice, one.text) for run, one in found.answers.items()
        }
    return settings, answers


def read_experts(folder: Path) -> dict[str, list[float]]:
    """Language -> mean weight of each expert, from a folder of `parrot predict`; empty without experts."""
    return _parse(_read(folder, EXPERTS, str(folder), "predict"), f"{folder}: {EXPERTS}")


def read_evaluation(folder: Path, name: str | None = None) -> Evaluation:
    """Read a folder of `parrot evaluate`; `name` is what errors and tables call it, else its path.

    Raises:
        ParrotError: a file is missing or broken, or a question is there twice; names file and line.
    """
    name = name or str(folder)
    settings = _settings(folder, name, "evaluate")
    samples = []
    for place, row in _rows(folder, name, "evaluate"):
        asked = _checked(_Asked, row, place)
        answers, hits = {}, {}
        for run in settings["prompts"]:
            if not isinstance(row.get(run), dict):
                raise ParrotError(f"{place}: {_problem(run, run in row, row.get(run))}")
            judged = _checked(_Judged, row[run], f"{place}: {run}")
            answers[run], hits[run] = Answer(judged.choice, judged.text), judged.hit
        samples.append(Sample(MultipleChoiceQuestion(**asked.model_dump()), answers, hits))
    if not samples:
        raise ParrotError(f"{name}: {PREDICTIONS}: holds no question; evaluate the model again")
    return Evaluation(name, settings, samples)


def _settings(folder: Path, name: str, stage: str) -> dict[str, Any]:
    settings = _parse(_read(folder, SETTINGS, name, stage), f"{name}: {SETTINGS}")
    if not isinstance(runs := settings.get("prompts"), dict) or not runs:
        raise ParrotError(f"{name}: {SETTINGS}: 'prompts' names no run; evaluate the model again")
    return settings


def _rows(folder: Path, name: str, stage: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """The lines with their places; a question that is there twice is refused."""
    lines: dict[Any, int] = {}
    for number, line in enumerate(io.StringIO(_read(folder, PREDICTIONS, name, stage)), start=1):
        place = f"{name}: {PREDICTIONS}: line {number}"
        row = _parse(line, place)
        yield place, row
        earlier = lines.setdefault((row["language"], row["index"]), number)
        if earlier != number:
            raise ParrotError(f"{place}: question {row['index']} in '{row['language']}' is already in "
                              f"line {earlier}; evaluate the model again")  # fmt: skip


def _read(folder: Path, file: str, name: str, stage: str) -> str:
    try:
        return (folder / file).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        what = "evaluation" if stage == "evaluate" else "predictions"
        raise ParrotError(
            f"{name}: no {what} ({file} is missing); `parrot {stage}` writes such a folder"
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


def _checked(model: type[Checked], row: dict[str, Any], place: str) -> Checked:
    try:
        return model.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        *outer, key = map(str, first["loc"])
        where = ": ".join([place, *outer])
        raise ParrotError(f"{where}: {_problem(key, first['type'] != 'missing', first['input'])}") from None


def _problem(key: str, there: bool, value: Any) -> str:
    what = f"cannot be {json.dumps(value)[:80]}" if there else "is missing"
    return f"'{key}' {what}; evaluate the model again"
