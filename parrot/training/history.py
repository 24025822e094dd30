"""What a training logs: rows of numbers, and the curve that `dvc plots` reads of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parrot.files import atomic_file

LOG_COLUMNS = ("step", "loss", "smoothed_loss", "learning_rate", "grad_norm")
"""Of the curve: what comes out the same when the same is trained again. What is timed is not among them."""
SMOOTHING = 0.8
"""Of a smoothed loss so much is left at the next logged one; batches of short and of long answers differ."""

Metrics = dict[str, float]
Report = Callable[[Metrics, int], None]
"""Takes metrics and the step they belong to, as they happen; a resumed run first gets all those before."""


@dataclass
class LogHistory:
    """What was logged, in order; each row has `LOG_COLUMNS`."""

    rows: list[Metrics] = field(default_factory=list)
    steps: int = 0
    """That were trained; the last ones need not be logged."""

    def write_csv(self, path: Path) -> None:
        """Write `LOG_COLUMNS`, the form that `dvc plots` reads."""
        lines = [",".join(f"{row[column]:.6g}" for column in LOG_COLUMNS) for row in self.rows]
        with atomic_file(path) as partial:
            partial.write_text("\n".join([",".join(LOG_COLUMNS), *lines]) + "\n", encoding="utf-8")


def curve_row(logs: Mapping[str, Any]) -> Metrics | None:
    """`LOG_COLUMNS`, or None where `Trainer` logged something else."""
    if "loss" not in logs:
        return None
    return {column: float(logs[column]) for column in LOG_COLUMNS}


def told_row(logs: Mapping[str, Any]) -> Metrics | None:
    """All that a row of a training tells MLflow; None for the summary that `Trainer` logs at the end."""
    if "loss" not in logs and "eval_loss" not in logs:
        return None
    return {name: float(value) for name, value in logs.items() if name not in ("step", "epoch")}


def smoothed(loss: float, earlier: list[float]) -> float:
    """The exponential moving average, as if the first losses had had predecessors like themselves.

    Args:
        earlier: the smoothed losses before.
    """
    if not earlier:
        return loss
    return earlier[-1] + (loss - earlier[-1]) * (1 - SMOOTHING) / (1 - SMOOTHING ** (len(earlier) + 1))
