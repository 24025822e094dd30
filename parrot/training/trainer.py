"""One `Trainer` run: the same for both stages of Parrot, and for whatever else is trained.

What it adds to Hugging Face's `Trainer`: a learning rate for each group of parameters, an order of
samples that makes a resumed run exact, checkpoints that are only used when they are whole, and one
place where progress, the log history and MLflow get their numbers.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments

from parrot.config import HeldOut, Training
from parrot.errors import ParrotError
from parrot.files import naming_full_disk
from parrot.training.arguments import effective_batch, training_arguments
from parrot.training.distributed import from_first, gather_whole, rank
from parrot.training.held_out import AskedQuestion, HeldOutEvaluation, out_of_patience
from parrot.training.history import LogHistory, Report, curve_row, smoothed
from parrot.training.optimizer import muon_with_adamw
from parrot.training.resume import last_complete
from parrot.training.run_progress import RunProgress
from parrot.training.sampler import LengthGroupedSampler
from parrot.training.watching import ROWS_BEFORE, SEEN, SeenRecord, Watch

if TYPE_CHECKING:
    from parrot.training.evaluator import Evaluator


@dataclass(frozen=True)
class TrainingRun:
    """Where a training keeps its state, whom it tells its numbers, and who feeds it."""

    name: str
    checkpoints: Path
    """A folder for this training and no other: a checkpoint found here is resumed."""
    report: Report = lambda metrics, step: None
    workers: int = 0
    """Processes that read and decode batches ahead; they change no number."""
    attach: Callable[[Path], None] = lambda path: None
    """Takes a file as it is now, for people to look at."""
    questions: Sequence[AskedQuestion] = ()
    """Asked at each evaluation, where there are any."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at one rate.

    The trainer turns each into what torch's optimizers call a parameter group: a dictionary of `params`,
    `lr` and `weight_decay`.
    """

    parameters: Sequence[nn.Parameter]
    learning_rate: float


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
    operations: Callable[[SeenRecord], float] | None = None,
    evaluator: "Evaluator | None" = None,
) -> LogHistory:
    """Train `model` in place and return its log history; `max_steps: 0` leaves it as it is.

    Afterwards rank 0 has the model whole, and the others have nothing to do but to wait.

    `dataset` is a map-style data set. The model is called with what `collate` returns and answers
    with a `loss`. Only the parameters named in `groups` require gradients afterwards. Checkpoints stay
    where they are, for the caller to remove once what was trained is saved. By `lengths` samples are put into
    batches; `positions` is what they take, if that is another thing. `arguments` is what
    `training_arguments` made of the same, where the model had to be loaded with them. What a batch has
    under `SEEN` is watched and not given to the model; `operations` of a record are what the MFU is made of.
    `evaluator` does what `training.evaluation` asks for.

    Raises:
        ParrotError: the loss became infinite or not a number, or exploded, the device lacks the wanted
            precision, or a checkpoint does not fit on its disk.
    """
    model.requires_grad_(False)
    for group in groups:
        for parameter in group.parameters:
            parameter.requires_grad_(True)
    if training.max_steps == 0:
        gather_whole(model, learned=())
        return LogHistory()
    trainer = GroupsTrainer(
        model=model,
        args=arguments or training_arguments(training, run, seed),
        train_dataset=dataset,
        data_collator=collate,
        groups=groups,
        muon=training.optimizer == "muon",
        lengths=lengths,
        packing=training.packing,
        watch=Watch(run.name, operations),
        evaluation=training.evaluation,
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = from_first(lambda: last_complete(trainer.args))
    trainer.add_callback(RunProgress(run, trainer, checkpoint))
    if training.evaluation and evaluator:
        trainer.add_callback(HeldOutEvaluation(run, trainer, training.evaluation, evaluator))
    if rank() == 0:
        taken = lengths if positions is None else positions
        mean = sum(taken) / max(1, len(taken))
        print(f"{run.name}: {effective_batch(training, len(taken), mean)}", file=sys.stderr, flush=True)
    if run.workers:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns of processes that fork
    with naming_full_disk(run.checkpoints), _one_sentence():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    gather_whole(model, learned=[parameter for group in groups for parameter in group.parameters])
    rows = [row for row in map(curve_row, trainer.state.log_history) if row]
    return LogHistory(rows, trainer.state.global_step)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """An error of a worker process arrives as that process' whole traceback: its last sentence is kept."""
    try:
        yield
    except ParrotError as error:
        name = f"{ParrotError.__module__}.{ParrotError.__qualname__}: "
        raise ParrotError(str(error).rpartition(name)[2]) from None


class GroupsTrainer(Trainer):
    def __init__(
        self,
        *,
        groups: Sequence[ParameterGroup],
        muon: bool,
        lengths: Sequence[int],
        packing: bool,
        watch: Watch,
        evaluation: HeldOut | None,
        **kwargs: Any,
    ) -> None:
        self._groups = groups
        self._muon = muon
        self._lengths = lengths
        self._packing = packing
        self.watch = watch
        self._evaluation = evaluation
        self._records: list[SeenRecord] = []
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
        ended = out_of_patience(self.state.log_history, self._evaluation)
        if self.state.global_step < self.state.max_steps and not ended:
            self._sampler.set_epoch(options["epoch"])
            super()._run_epoch(**options)
        else:
            self.control.should_training_stop = True

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            earlier = [row["smoothed_loss"] for row in self.state.log_history if "loss" in row]
            warm_up = self.args.get_warmup_steps(self.state.max_steps)
            if len(earlier) >= ROWS_BEFORE and self.state.global_step > warm_up:
                self.watch.explosion(self.state.global_step, logs["loss"], earlier[-1])
            logs["smoothed_loss"] = smoothed(logs["loss"], earlier)
            logs |= self.watch.metrics()
        super().log(logs, start_time)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], *arguments: Any) -> tuple[list[Any], Any]:
        batches, labels = super().get_batch_samples(self.watch.waiting(epoch_iterator), *arguments)
        # The loss is divided by the number of labels, and a batch of broken records has none.
        return batches, labels.clamp(min=1) if torch.is_tensor(labels) else labels

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        self._records = inputs.pop(SEEN, [])
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self.watch.took(self.state.global_step + 1, loss, self._records)
        return loss

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self._records and (weights := outputs.get("routing_weights")) is not None:
            self.watch.routed(weights, self._records)
        return (loss, outputs) if return_outputs else loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """For a checkpoint. With DeepSpeed nothing: its own part of the checkpoint holds the weights."""
        if not self.is_deepspeed_enabled:
            super().save_model(output_dir, _internal_call)

    def prepared(self, batch: dict[str, Any]) -> Any:
        """A batch where the model is and in its precision, without what is watched of it."""
        self.watch.look(batch.get(SEEN, ()))
        return self._prepare_inputs({name: value for name, value in batch.items() if name != SEEN})

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
