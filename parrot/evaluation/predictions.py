"""What a model answered, and the file that it is kept in."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from parrot.data.sources.mmmb import Question
from parrot.files import atomic_file


@dataclass(frozen=True)
class Answer:
    """The chosen letter, and the log-likelihood (nats) of each option by its letter."""

    choice: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Prediction:
    """The answers to one question by the name of the run, and the experts' weights in the first run."""

    question: Question
    language: str
    answers: dict[str, Answer]
    routing: list[float] | None

    def hit(self, run: str) -> bool:
        return self.answers[run].choice == self.question.answer


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write JSON lines: language, index, category, answer, and per run choice, hit and scores.

    Scores have 5 decimals; further ones change with the machine.
    """
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for prediction in predictions:
            question = prediction.question
            row = {
                "language": prediction.language,
                "index": question.index,
                "category": question.category,
                "answer": question.answer,
            }
            runs = {
                run: {
                    "choice": answer.choice,
                    "hit": prediction.hit(run),
                    "scores": {letter: round(score, 5) for letter, score in answer.scores.items()},
                }
                for run, answer in prediction.answers.items()
            }
            file.write(json.dumps({**row, **runs}, ensure_ascii=False) + "\n")
