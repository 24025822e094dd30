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

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

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
AGAIN = "evaluate the model again"
"""What to do about a broken file."""
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """The letter that was chosen, and what it was read from."""

    choice: str | None = None
    """None where a written answer has not been read, or could not be."""
    text: str | None = None
    """What the model wrote, if it wrote."""
    hit: bool | None = None
    """Whether it is right, once that was judged; in a circular benchmark, whether all rotations are."""
    scores: dict[str, float] | None = None
    """Letter -> log-likelihood (nats), if options were scored. They differ with the shape of a batch in
    their last digits, and are in no file."""


@dataclass(frozen=True)
class Sample:
    """One question in one language; questions of one `question.cluster` share a picture."""

    question: MultipleChoiceQuestion
    answers: dict[str, Answer] = field(default_factory=dict)
    """Run -> answer."""
    routing: list[float] | None = None
    """The experts' weights in the first run."""

    @property
    def language(self) -> str:
        return self.question.language

    @property
    def key(self) -> tuple[str, int]:
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


class _Judged(BaseModel, strict=True):
    """An `Answer` of `evaluate`."""

    choice: str | None
    text: str | None = None
    hit: bool


class _PredictedRow(BaseModel, strict=True, extra="allow"):
    """A line of `predict`; what it has besides is an answer in each run."""

    __pydantic_extra__: dict[str, Answer] = Field(init=False)

    language: str
    index: int


class _JudgedRow(_PredictedRow):
    """A line of `evaluate`."""

    __pydantic_extra__: dict[str, _Judged] = Field(init=False)  # type: ignore[assignment]

    category: str
    answer: str
    cluster: str


def predicted_row(sample: Sample) -> dict[str, Any]:
    """A sample as `predict` keeps it: what the model chose or wrote in each run."""
    return {name: getattr(sample.question, name) for name in _PredictedRow.model_fields} | {
        run: {"choice": answer.choice} if answer.text is None else {"text": answer.text}
        for run, answer in sample.answers.items()
    }


def judged_row(sample: Sample) -> dict[str, Any]:
    """A sample as `evaluate` keeps it."""
    return {name: getattr(sample.question, name) for name in _JudgedRow.model_fields} | {
        run: {"hit": answer.hit, "choice": answer.choice}
        | ({} if answer.text is None else {"text": answer.text})
        for run, answer in sample.answers.items()
    }


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_evaluation(folder: Path, name: str | None = None) -> Evaluation:
    """Read a folder of `parrot evaluate`; `name` is what errors and tables call it, else its path.

    Raises:
        ParrotError: a file is missing or broken, or a question is there twice; names file and line.
    """
    return _read_samples(folder, name or str(folder), "evaluate", _JudgedRow)


def read_predictions(folder: Path) -> Evaluation:
    """Read a folder of `parrot predict`; of a question no more is known there than language and index."""
    return _read_samples(folder, str(folder), "predict", _PredictedRow)


def read_experts(folder: Path) -> dict[str, list[float]]:
    """Language -> mean weight of each expert, from a folder of `parrot predict`; empty without experts."""
    text = _read(folder, EXPERTS, str(folder), "predict")
    return _validated(dict[str, list[float]], text, f"{folder}: {EXPERTS}")


def _read_samples(folder: Path, name: str, stage: str, row_type: type[_PredictedRow]) -> Evaluation:
    place = f"{name}: {SETTINGS}"
    settings = _validated(dict[str, Any], _read(folder, SETTINGS, name, stage), place)
    if not isinstance(runs := settings.get("prompts"), dict) or not runs:
        raise ParrotError(f"{place}: 'prompts' names no run; {AGAIN}")
    samples: dict[tuple[str, int], Sample] = {}
    lines = io.StringIO(_read(folder, PREDICTIONS, name, stage))  # breaks lines at no other character
    for number, line in enumerate(lines, start=1):
        place = f"{name}: {PREDICTIONS}: line {number}"
        row = _validated(row_type, line, place)
        sample = Sample(MultipleChoiceQuestion(**{key: getattr(row, key) for key in row_type.model_fields}))
        for run in runs:
            if (found := row.__pydantic_extra__.get(run)) is None:
                raise ParrotError(f"{place}: '{run}' is missing; {AGAIN}")
            sample.answers[run] = Answer(found.choice, found.text, found.hit)
        if sample.key in samples:
            earlier = list(samples).index(sample.key) + 1
            raise ParrotError(
                f"{place}: question {row.index} in '{row.language}' is already in line {earlier}; {AGAIN}"
            )
        samples[sample.key] = sample
    if not samples:
        raise ParrotError(f"{name}: {PREDICTIONS}: holds no question; {AGAIN}")
    return Evaluation(name, settings, list(samples.values()))


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
            f"{name}: {file}: not UTF-8 ({error.reason} at byte {error.start}); {AGAIN}"
        ) from None


def _validated(kind: type[T], text: str, place: str) -> T:
    """What JSON text holds, of this kind."""
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    if not first["loc"]:
        what = f"no JSON ({first['msg']})" if first["type"] == "json_invalid" else "no JSON object"
        raise ParrotError(f"{place}: {what}; {AGAIN}")
    *outer, key = map(str, first["loc"])
    what = "is missing" if first["type"] == "missing" else f"cannot be {json.dumps(first['input'])[:80]}"
    raise ParrotError(f"{': '.join([place, *outer])}: '{key}' {what}; {AGAIN}")
