"""One `Trainer` run: the same for both stages of Parrot, and for whatever else is trained.

What it adds to Hugging Face's `Trainer`: a learning rate for each group of parameters, an order of
samples that makes a resumed run exact, checkpoints that are only used when they are whole, and one
place where progress, the log history and MLflow get their numbers.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from parrot.config import Training
from parrot.errors import ParrotError
from parrot.files import atomic_file, naming_full_disk
from parrot.training.arguments import effective_batch, training_arguments
from parrot.training.distributed import from_first, gather_whole, rank
from parrot.training.optimizer import muon_with_adamw
from parrot.training.resume import last_complete, mark_complete, read_since_log
from parrot.training.sampler import LengthGroupedSampler

LOG_COLUMNS = ("step", "loss", "smoothed_loss", "learning_rate", "grad_norm")
SMOOTHING = 0.8
"""Of a smoothed loss so much is left at the next logged one; batches of short and of long answers differ."""

Metrics = dict[str, float]
Report = Callable[[Metrics, int], None]
"""Takes metrics and the step they belong to, as they happen; a resumed run first gets all those before."""


@dataclass(frozen=True)
class TrainingRun:
    """Where a training keeps its state, whom it tells its numbers, and who feeds it."""

    name: str
    checkpoints: Path
    """A folder for this training and no other: a checkpoint found here is resumed."""
    report: Report = lambda metrics, step: None
    workers: int = 0
    """Processes that read and decode batches ahead; they change no number."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at one rate.

    The trainer turns each into what torch's optimizers call a parameter group: a dictionary of `params`,
    `lr` and `weight_decay`.
    """

    parameters: Sequence[nn.Parameter]
    learning_rate: float


@dataclass
class LogHistory:
    """What was logged, in order; each row has `LOG_COLUMNS`."""

    rows: list[Metrics] = field(default_factory=list)

    def write_csv(self, path: Path) -> None:
        """Write `LOG_COLUMNS`, the form that `dvc plots` reads."""
        lines = [",".join(f"{row[column]:.6g}" for column in LOG_COLUMNS) for row in self.rows]
        with atomic_file(path) as partial:
            partial.write_text("\n".join([",".join(LOG_COLUMNS), *lines]) + "\n", encoding="utf-8")


def fit(
    model: nn.Module,
    groups: Sequence[ParameterGroup],
    dataset: Any,
    collate: Callable[[list[Any]], dict[str, Any]],
    training: Training,
    run: TrainingRun,
    *,
    seed: int,
    lengths: Sequence[int],
    positions: Sequence[int] | None = None,
    arguments: TrainingArguments | None = None,
) -> LogHistory:
    """Train `model` in place and return its log history; `max_steps: 0` leaves it as it is.

    Afterwards rank 0 has the model whole, and the others have nothing to do but to wait.

    `dataset` is a map-style data set. The model is called with what `collate` returns and answers
    with a `loss`. Only the parameters named in `groups` require gradients afterwards. Checkpoints stay
    where they are, for the caller to remove once what was trained is saved. By `lengths` samples are put into
    batches; `positions` is what they take, if that is another thing. `arguments` is what
    `training_arguments` made of the same, where the model had to be loaded with them.

    Raises:
        ParrotError: the loss became infinite or not a number, the device lacks the wanted precision, or
            a checkpoint does not fit on its disk.
    """
    model.requires_grad_(False)
    for group in groups:
        for parameter in group.parameters:
            parameter.requires_grad_(True)
    if training.max_steps == 0:
        gather_whole(model, learned=())
        return LogHistory()
    trainer = _GroupsTrainer(
        model=model,
        args=arguments or training_arguments(training, run, seed),
        train_dataset=dataset,
        data_collator=collate,
        groups=groups,
        muon=training.optimizer == "muon",
        lengths=lengths,
        packing=training.packing,
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = from_first(lambda: last_complete(trainer.args))
    trainer.add_callback(_Progress(run, trainer, checkpoint))
    if rank() == 0:
        taken = lengths if positions is None else positions
        mean = sum(taken) / max(1, len(taken))
        print(f"{run.name}: {effective_batch(training, len(taken), mean)}", file=sys.stderr, flush=True)
    if run.workers:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns of processes that fork
    with naming_full_disk(run.checkpoints), _one_sentence():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    gather_whole(model, learned=[parameter for group in groups for parameter in group.parameters])
    return LogHistory([row for row in map(_log_row, trainer.state.log_history) if row])


@contextmanager
def _one_sentence() -> Iterator[None]:
    """An error of a worker process arrives as that process' whole traceback: its last sentence is kept."""
    try:
        yield
    except ParrotError as error:
        name = f"{ParrotError.__module__}.{ParrotError.__qualname__}: "
        raise ParrotError(str(error).rpartition(name)[2]) from None


class _GroupsTrainer(Trainer):
    def __init__(
        self,
        *,
        groups: Sequence[ParameterGroup],
        muon: bool,
        lengths: Sequence[int],
        packing: bool,
        **kwargs: Any,
    ) -> None:
        self._groups = groups
        self._muon = muon
        self._lengths = lengths
        self._packing = packing
        super().__init__(**kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        self.optimizer: torch.optim.Optimizer | None
        if self.optimizer is None:
            decay = self.args.weight_decay
            groups = [
                {"params": list(group.parameters), "lr": group.learning_rate, "weight_decay": decay}
                for group in self._groups
            ]
            if self._muon:
                self.optimizer = muon_with_adamw(self.model, groups)
            else:
                optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
                self.optimizer = optimizer_class(groups, **options)
        assert self.optimizer
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> LengthGroupedSampler:
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        self._sampler = LengthGroupedSampler(self._lengths, batch, self.args.seed, grouped=not self._packing)
        return self._sampler

    def _run_epoch(self, **options: Any) -> None:
        """A resumed run: accelerate 1.15 does not tell the sampler of ranks in which epoch it goes on, and
        transformers 5.23 trains one step too many if all of them were done within an epoch."""
        if self.state.global_step < self.state.max_steps:
            self._sampler.set_epoch(options["epoch"])
            super()._run_epoch(**options)
        else:
            self.control.should_training_stop = True

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs["smoothed_loss"] = self._smooth(logs["loss"])
        super().log(logs, start_time)

    def _smooth(self, loss: float) -> float:
        """The exponential moving average, as if the first losses had had predecessors like themselves."""
        earlier: list[float] = [row["smoothed_loss"] for row in self.state.log_history if "loss" in row]
        if not earlier:
            return loss
        return earlier[-1] + (loss - earlier[-1]) * (1 - SMOOTHING) / (1 - SMOOTHING ** (len(earlier) + 1))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """For a checkpoint. With DeepSpeed nothing: its own part of the checkpoint holds the weights."""
        if not self.is_deepspeed_enabled:
            super().save_model(output_dir, _internal_call)

    def since_log(self) -> dict[str, Any]:
        """Each rank's sum of losses since the last logged step, and that step; all ranks must call it."""
        return {
            "losses": self.accelerator.gather(self._tr_loss).reshape(-1).tolist(),
            "logged_step": self._globalstep_last_logged,
        }

    def resume_since_log(self, since: dict[str, Any]) -> None:
        """Go on from what `since_log` gave; `Trainer` itself begins a new mean with each start."""
        self._tr_loss.fill_(since["losses"][rank()])
        self._globalstep_last_logged = since["logged_step"]


class _Progress(TrainerCallback):
    """Progress bar, MLflow and the stop on a loss that is no number; completes checkpoints."""

    def __init__(self, run: TrainingRun, trainer: _GroupsTrainer, checkpoint: Path | None) -> None:
        self._run = run
        self._trainer = trainer
        self._checkpoint = checkpoint
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._checkpoint:
            self._trainer.resume_since_log(read_since_log(self._checkpoint))
            # This run's curve is to be whole.
            for row in filter(None, map(_log_row, state.log_history if state.is_world_process_zero else [])):
                self._report(row)
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self._run.name,
            unit="step",
            disable=not state.is_world_process_zero,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        row = _log_row({**(logs or {}), "step": state.global_step})
        if row is None or not state.is_world_process_zero:
            return
        if not math.isfinite(row["loss"]):
            raise ParrotError(
                f"{self._run.name}: the loss is {row['loss']} at step {state.global_step}; "
                f"lower the learning rate of this stage in params.yaml"
            )
        self._bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
        self._report(row)

    def _report(self, row: Metrics) -> None:
        self._run.report({key: value for key, value in row.items() if key != "step"}, int(row["step"]))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        since = self._trainer.since_log()  # to gather it, every rank must have written its part
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}", args, since)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.close()


def _log_row(logs: dict[str, Any]) -> Metrics | None:
    """`LOG_COLUMNS`, or None for the summary that `Trainer` logs at the end."""
    if "loss" not in logs:
        return None
    return {column: float(logs[column]) for column in LOG_COLUMNS}
