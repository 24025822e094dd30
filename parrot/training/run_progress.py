"""Who is told of a training as it goes on: the terminal and MLflow. And what has to happen at its steps."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

from parrot.files import atomic_file
from parrot.training.history import Metrics, told_row
from parrot.training.resume import mark_complete, read_since_log

if TYPE_CHECKING:
    from parrot.training.trainer import GroupsTrainer, TrainingRun

LEFT_OUT = "left_out.csv"
"""Among the checkpoints and in MLflow: records that broke since they were checked, and why."""


class RunProgress(TrainerCallback):
    """Progress bar, MLflow and the stop on a loss that is no number or explodes; completes checkpoints."""

    def __init__(self, run: TrainingRun, trainer: GroupsTrainer, checkpoint: Path | None) -> None:
        self._run = run
        self._trainer = trainer
        self._checkpoint = checkpoint
        self._bar: Any = None
        self._last: Metrics = {}
        self._told_left_out = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._checkpoint:
            self._trainer.resume_since_log(read_since_log(self._checkpoint))
            # This run's curve is to be whole.
            for logs in state.log_history if state.is_world_process_zero else []:
                if row := told_row(logs):
                    self._run.report(row, int(logs["step"]))
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self._run.name,
            unit="step",
            disable=not state.is_world_process_zero,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if control.should_log or control.should_save:  # as a checkpoint no broken training is gone on from
            self._trainer.watch.check()
        self._trainer.watch.end_step()
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        row = told_row(logs or {})
        if row is None:
            return
        if state.is_world_process_zero:
            self._last |= row
            self._bar.set_postfix_str(shown(row), refresh=False)
            self._run.report(row, state.global_step)
            self._tell_left_out()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        since = self._trainer.since_log()  # to gather it, every rank must have written its part
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}", args, since)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.close()
        watch = self._trainer.watch
        watch.share_left_out()  # also what broke since the last logged step
        if watch.left_out and state.is_world_process_zero:
            self._tell_left_out()
            count = len(watch.left_out)
            records = "1 record that was" if count == 1 else f"{count} records that were"
            print(
                f"{self._run.name}: nothing was learned of {records} whole when checked; `parrot data check` "
                f"looks at all of them",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        for line in experts(self._last):
            print(f"{self._run.name}: {line}", file=sys.stderr, flush=True)

    def _tell_left_out(self) -> None:
        """Of the records that were found broken since this was called last, and all of them to MLflow."""
        broken = list(self._trainer.watch.left_out.items())
        if len(broken) == self._told_left_out:
            return
        for name, why in broken[self._told_left_out :]:
            tqdm.write(f"{self._run.name}: record {name}: {why}; nothing is learned of it", file=sys.stderr)
        self._told_left_out = len(broken)
        file = self._run.checkpoints / LEFT_OUT
        with atomic_file(file) as partial, partial.open("w", encoding="utf-8", newline="") as table:
            csv.writer(table).writerows([("record", "why"), *broken])
        self._run.attach(file)


def shown(row: Metrics) -> str:
    """What fits behind a progress bar."""
    forms = {
        "loss": "loss {:.3f}",
        "learning_rate": "lr {:.2g}",
        "grad_norm": "grad {:.2g}",
        "tokens_per_second": "{:,.0f} tokens/s",
        "data_wait": "{:.0%} waiting for data",
        "mfu": "MFU {:.0%}",
        "memory_gib": "{:.1f} GiB",
    }
    return ", ".join(form.format(row[name]) for name, form in forms.items() if name in row)


def experts(row: Metrics) -> list[str]:
    """What each language makes of the experts; nothing where there are none."""
    lines = []
    for name, entropy in row.items():
        kind, _, language = name.partition("/")
        if kind == "router_entropy":
            loads = [load for key, load in row.items() if key.startswith(f"expert_load/{language}.")]
            mean = " ".join(f"{load:.2f}" for load in loads)
            most = math.log(len(loads))
            lines.append(f"experts in '{language}': {mean}, entropy {entropy:.2f} of {most:.2f} nats")
    return lines
