"""When a model is looked at while it is trained, on which records, who is told, and when it is enough."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm
from transformers import TrainerCallback

from parrot.config import HeldOut
from parrot.errors import ParrotError
from parrot.files import atomic_file
from parrot.training.distributed import from_first, rank

if TYPE_CHECKING:
    from parrot.training.evaluator import Evaluator
    from parrot.training.trainer import GroupsTrainer, TrainingRun

ANSWERS = "answers.csv"
"""Among the checkpoints and in MLflow: what was answered at each evaluation."""


class AskedQuestion(NamedTuple):
    """Asked at each evaluation."""

    language: str
    system: str
    """The turn before the user's."""
    text: str
    """The user's turn, with `<image>` where the picture stands."""
    image: bytes
    answer: str
    """The right one."""


class Answered(NamedTuple):
    """A line of `ANSWERS`."""

    step: int
    language: str
    question: str
    right: str
    answer: str


def hold_out(records: NDArray[np.int_], settings: HeldOut, seed: int) -> tuple[list[int], list[int]]:
    """Which samples are trained on, and which are held out: each record of these once.

    Args:
        records: of each sample, the number of its record; a mixture may have one several times.

    Raises:
        ParrotError: nothing would be left.
    """
    distinct, first = np.unique(records, return_index=True)
    if settings.records >= len(distinct):
        raise ParrotError(
            f"params.yaml: training.evaluation.records: {settings.records} records held out of "
            f"{len(distinct)} leave none to train on; hold out fewer"
        )
    order = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(seed)).numpy()
    chosen = order[: settings.records]
    trained = np.flatnonzero(~np.isin(records, distinct[chosen]))
    return trained.tolist(), sorted(first[chosen].tolist())


def out_of_patience(history: Sequence[Mapping[str, Any]], settings: HeldOut | None) -> bool:
    """Whether the loss on held-out records has not become smaller in the last `patience` evaluations."""
    losses = [row["eval_loss"] for row in history if "eval_loss" in row]
    if settings is None or settings.patience is None or not losses:
        return False
    return len(losses) - 1 - losses.index(min(losses)) >= settings.patience


class HeldOutEvaluation(TrainerCallback):
    """Evaluates every so many steps, tells of it, and ends a training that gets no better."""

    def __init__(
        self, run: TrainingRun, trainer: GroupsTrainer, settings: HeldOut, evaluator: Evaluator
    ) -> None:
        self._run = run
        self._trainer = trainer
        self._settings = settings
        self._evaluator = evaluator
        self._answered: list[Answered] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._file.exists():
            with self._file.open(encoding="utf-8", newline="") as file:
                rows = [Answered(int(step), *rest) for step, *rest in list(csv.reader(file))[1:]]
            self._answered = [row for row in rows if row.step <= state.global_step]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step = state.global_step
        if step % self._settings.every_steps and step < state.max_steps:
            return
        self._trainer.watch.check()
        with looking_at(self._trainer.model) as model:
            own = self._evaluator.loss(model, self._trainer.prepared)
            answers = list(self._evaluator.answers(model, self._trainer.prepared))
        # Ranks may differ in the last digit, and must not in when they end: the others would wait for ever.
        loss = from_first(lambda: own)
        before = [row["eval_loss"] for row in state.log_history if "eval_loss" in row]
        state.log_history.append({"eval_loss": loss, "step": step})
        if out_of_patience(state.log_history, self._settings):
            control.should_training_stop = control.should_save = True
        if rank() == 0:
            self._run.report({"eval_loss": loss}, step)
            self._tell(step, loss, min([*before, loss]), answers)
            if control.should_training_stop and step < state.max_steps:
                _say(f"{self._run.name}: ends: no smaller loss in {self._settings.patience} evaluations")

    def _tell(
        self, step: int, loss: float, best: float, answers: Sequence[tuple[AskedQuestion, str]]
    ) -> None:
        _say(f"{self._run.name}: step {step}: loss on held-out records {loss:.4f}, the best {best:.4f}")
        for question, answer in answers:
            asked = question.text.replace("<image>", "").strip()
            self._answered.append(Answered(step, question.language, asked, question.answer, answer))
            _say(f"  {question.language}: {asked} → {answer} (right: {question.answer})")
        if answers:
            with atomic_file(self._file) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([Answered._fields, *self._answered])
            self._run.attach(self._file)

    @property
    def _file(self) -> Path:
        return self._run.checkpoints / ANSWERS


@contextmanager
def looking_at(model: Any) -> Iterator[Any]:
    """The model as it answers and not as it learns."""
    learning = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        model.train(learning)


def _say(sentence: str) -> None:
    tqdm.write(sentence, file=sys.stderr)
