"""What a model answered, and the form that it is kept in."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from parrot.evaluation.benchmarks.mmmb import Question
from parrot.evaluation.scoring.multiple_choice import rotation_groups
from parrot.files import atomic_file


@dataclass(frozen=True)
class Answer:
    """The letter that was chosen, and what it was read from."""

    choice: str | None
    """None where a written answer could not be read."""
    scores: dict[str, float] | None = None
    """Letter -> log-likelihood (nats), if options were scored."""
    text: str | None = None
    """What the model wrote, if it wrote."""

    def to_row(self) -> dict[str, Any]:
        """Scores have 5 decimals; further ones change with the machine."""
        row: dict[str, Any] = {"choice": self.choice}
        if self.scores is not None:
            row["scores"] = {letter: round(score, 5) for letter, score in self.scores.items()}
        if self.text is not None:
            row["text"] = self.text
        return row


@dataclass(frozen=True)
class Prediction:
    """A question, and the answers to it and whether they are right by the name of the run."""

    question: Question
    language: str
    answers: dict[str, Answer]
    routing: list[float] | None
    """The experts' weights in the first run."""
    hits: dict[str, bool]
    """In a circular benchmark, whether all rotations are right."""
    chance: float
    """Of a guess that takes each option with the same probability."""


def judge(
    question: Question, language: str, answers: dict[str, Answer], routing: list[float] | None
) -> Prediction:
    """A prediction for a question that stands alone."""
    hits = {run: answer.choice == question.answer for run, answer in answers.items()}
    return Prediction(question, language, answers, routing, hits, chance=1 / len(question.options))


def join_rotations(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The main rows of all groups of rotations; each is right in a run where the whole group is."""
    joined = []
    for language in dict.fromkeys(prediction.language for prediction in predictions):
        of_language = {p.question.index: p for p in predictions if p.language == language}
        for group, rows in rotation_groups([p.question for p in of_language.values()]).items():
            main = of_language[group]
            hits = {run: all(of_language[row.index].hits[run] for row in rows) for run in main.hits}
            chance = prod(of_language[row.index].chance for row in rows)
            joined.append(replace(main, hits=hits, chance=chance))
    return joined


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write JSON lines: language, index, category, answer, cluster, and per run its hit and answer.

    Questions of one `cluster` share a picture.
    """
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for prediction in predictions:
            question = prediction.question
            row = {
                "language": prediction.language,
                "index": question.index,
                "category": question.category,
                "answer": question.answer,
                "cluster": hashlib.sha256(question.image).hexdigest()[:16],
            }
            runs = {
                run: {"hit": prediction.hits[run], **answer.to_row()}
                for run, answer in prediction.answers.items()
            }
            file.write(json.dumps({**row, **runs}, ensure_ascii=False) + "\n")
